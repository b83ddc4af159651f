//! Writes a style sheet without comments and without space that means nothing.

/// The same sheet, shorter.
pub fn write(source: &str) -> String {
    let mut out = String::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let length = if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if c == '"' || c == '\'' {
            let end = rest[1..].find(c).map_or(rest.len(), |end| end + 2);
            out.push_str(&rest[..end]);
            end
        } else if c.is_ascii_whitespace() {
            let after = rest.trim_start();
            let needed = !out.ends_with(['{', '}', ';', ',', ':', ' '])
                && !after.starts_with(['{', '}', ';', ','])
                && !after.starts_with("/*")
                && !after.is_empty()
                && !out.is_empty();
            if needed {
                out.push(' ');
            }
            rest.len() - after.len()
        } else {
            if c == '}' && out.ends_with(';') {
                out.pop();
            }
            out.push(c);
            c.len_utf8()
        };
        rest = &rest[length..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_stays() {
        let sheet = "/* a */\na :hover,\nb > c {\n  margin: 0 calc(1px + 2px);\n  content: \" ; } \";\n}\n@media (width > 1px) and (x: y) { a { b: c; } }\n";
        assert_eq!(
            write(sheet),
            "a :hover,b > c{margin:0 calc(1px + 2px);content:\" ; } \"}@media (width > 1px) and (x:y){a{b:c}}"
        );
        assert_eq!(write("a /* x */ b{}"), "a b{}");
    }
}

//! Reads JavaScript into tokens and writes it again without comments and without space that means nothing.
//!
//! Not a parser: it knows what ends a string, a template and a regular expression, and it stops the build
//! where it would have to guess. It relies on two habits of the page's code: no statement is empty, and
//! lines end with a semicolon or where none is needed.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A name, a keyword or a number.
    Word,
    /// Anything between quotes.
    Text,
    /// A part of a template, from a backtick or a `}` to a backtick or a `${`.
    Template,
    /// A regular expression with its flags.
    Regex,
    /// An operator, a bracket, a comma.
    Sign,
}

/// A part of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// As it is written.
    pub text: String,
    /// It is the first of its line.
    pub first: bool,
}

impl Token {
    /// Whether it is this word or sign.
    pub fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Word | Kind::Sign) && self.text == text
    }
}

/// After these a `/` begins a regular expression, although they look like names.
const BEFORE_REGEX: [&str; 12] =
    ["return", "typeof", "case", "in", "of", "else", "do", "void", "delete", "throw", "await", "yield"];
/// Signs of several characters that matter here: some must not be taken apart, and those that end a
/// value (`++`) are no operators before a line's end.
const SIGNS: [&str; 20] = [
    "...", "===", "!==", "**=", "&&=", "||=", "??=", "=>", "==", "!=", "<=", ">=", "&&", "||", "??", "?.",
    "++", "--", "+=", "-=",
];

/// The tokens of a script.
///
/// # Errors
/// What cannot be told apart, and in which line.
pub fn read(source: &str) -> Result<Vec<Token>, String> {
    let mut tokens: Vec<Token> = Vec::new();
    // For each template that is open: how many brackets were where its code began, and whether it is markup.
    let mut templates: Vec<(usize, bool)> = Vec::new();
    let (mut depth, mut at, mut first) = (0, 0, true);
    while let Some(c) = source[at..].chars().next() {
        let rest = &source[at..];
        let fail = |what: &str| format!("line {}: {what}", source[..at].matches('\n').count() + 1);
        if c.is_whitespace() {
            first |= c == '\n';
            at += c.len_utf8();
            continue;
        }
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        if rest.starts_with("/*") {
            let length = rest.find("*/").ok_or_else(|| fail("a comment does not end"))? + 2;
            first |= rest[..length].contains('\n');
            at += length;
            continue;
        }
        let resumed = templates.pop_if(|(brackets, _)| c == '}' && *brackets == depth);
        if c == '`' || resumed.is_some() {
            let is_markup =
                resumed.map_or_else(|| tokens.last().is_some_and(|tag| tag.is("html")), |(_, is)| is);
            let length = template(rest).ok_or_else(|| fail("a template does not end"))?;
            let text = &rest[..length];
            if text.ends_with("${") {
                templates.push((depth, is_markup));
            }
            let text = if is_markup { markup(text) } else { text.to_owned() };
            tokens.push(Token { kind: Kind::Template, text, first });
            first = false;
            at += length;
            continue;
        }
        let (kind, length) = if c == '"' || c == '\'' {
            (Kind::Text, quoted(rest, c).ok_or_else(|| fail("a string does not end"))?)
        } else if is_word(c) {
            (Kind::Word, word(rest))
        } else if c == '/'
            && begins_regex(tokens.last()).ok_or_else(|| fail("a / after }: division or not?"))?
        {
            (Kind::Regex, regex(rest).ok_or_else(|| fail("a regular expression does not end"))?)
        } else {
            depth = match c {
                '(' | '[' | '{' => depth + 1,
                ')' | ']' | '}' => depth.checked_sub(1).ok_or_else(|| fail("a bracket too many"))?,
                _ => depth,
            };
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            (Kind::Sign, sign.map_or(c.len_utf8(), |sign| sign.len()))
        };
        tokens.push(Token { kind, text: rest[..length].to_owned(), first });
        first = false;
        at += length;
    }
    if depth > 0 || !templates.is_empty() {
        return Err("a bracket is not closed".into());
    }
    Ok(tokens)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || c == '#'
}

/// The length of a name or a number.
fn word(text: &str) -> usize {
    let is_number = text.starts_with(|c: char| c.is_ascii_digit());
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let goes_on = is_word(c) || is_number && (c == '.' || matches!(c, '+' | '-') && before == 'e');
        if !goes_on {
            return at;
        }
        before = c;
    }
    text.len()
}

/// The length of a text that begins with a quote, to that quote.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\n' => return None,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The length of a part of a template.
fn template(text: &str) -> Option<usize> {
    let (mut escaped, mut dollar) = (false, false);
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '`' => return Some(at + 1),
            '{' if dollar => return Some(at + 1),
            '$' => {
                dollar = true;
                continue;
            }
            _ => {}
        }
        dollar = false;
    }
    None
}

/// A part of a template of markup without what means nothing there: the indentation of its lines, and the names of
/// what its tags close. No attribute's value has a closing tag in it.
fn markup(text: &str) -> String {
    let last = text.lines().count().saturating_sub(1);
    let lines = text.lines().enumerate().map(|(nth, line)| {
        let line = if nth > 0 { line.trim_start() } else { line };
        if nth < last { line.trim_end() } else { line }
    });
    let text = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    let mut parts = text.split("</");
    let mut short = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        short.push_str("</");
        short.push_str(part.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '/'));
    }
    short
}

/// The length of a regular expression with its flags.
fn regex(text: &str) -> Option<usize> {
    let (mut escaped, mut class) = (false, false);
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\n' => return None,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => class = true,
            ']' => class = false,
            '/' if !class => return Some(at + 1 + word(&text[at + 1..])),
            _ => {}
        }
    }
    None
}

/// Whether a `/` after `before` begins a regular expression; none where that cannot be told.
fn begins_regex(before: Option<&Token>) -> Option<bool> {
    let Some(before) = before else { return Some(true) };
    Some(match before.kind {
        Kind::Word => BEFORE_REGEX.contains(&before.text.as_str()),
        Kind::Text | Kind::Regex => false,
        Kind::Template => before.text.ends_with("${"),
        Kind::Sign => match before.text.as_str() {
            "}" => return None,
            ")" | "]" | "++" | "--" => false,
            _ => true,
        },
    })
}

/// A script of these tokens, as short as it can be without renaming anything.
pub fn write(tokens: &[Token]) -> String {
    let mut out = String::new();
    let mut before: Option<&Token> = None;
    let mut at = 0;
    while at < tokens.len() {
        // (x) => is x =>.
        let mut token = &tokens[at];
        let is_lone = token.is("(")
            && matches!(&tokens[at + 1..], [one, close, arrow, ..]
                if one.kind == Kind::Word && close.is(")") && arrow.is("=>"))
            && before.is_none_or(|before| before.kind == Kind::Sign || before.kind == Kind::Template);
        let mut first = token.first;
        if is_lone {
            token = &tokens[at + 1];
            at += 2;
        } else if let Some(next) = tokens.get(at + 1) {
            let before_end = next.is("}") || token.is(",") && (next.is(")") || next.is("]"));
            // What a for loop leaves out, and holes of a list, end with a second one.
            if before_end
                && (token.is(";") || token.is(","))
                && before.is_some_and(|before| !before.is(&token.text))
            {
                at += 1;
                continue;
            }
        }
        if let Some(before) = before {
            first &= ends_line(before, token);
            if first {
                out.push('\n');
            } else if sticks(&out, &token.text) {
                out.push(' ');
            }
        }
        out.push_str(&token.text);
        before = Some(token);
        at += 1;
    }
    out
}

/// Whether the end of a line between them may end a statement.
fn ends_line(before: &Token, token: &Token) -> bool {
    let goes_on = |token: &Token, more: &str, fewer: &[&str]| {
        token.kind == Kind::Sign
            && !fewer.contains(&token.text.as_str())
            && (token.text.len() > 1 || more.contains(&token.text))
    };
    let inside = (before.kind == Kind::Template && before.text.ends_with("${"))
        || (token.kind == Kind::Template && token.text.starts_with('}'));
    let within = goes_on(before, "{([,;:?=&|<>*/%+-!~.^", &["++", "--"])
        || goes_on(token, ")]},;:?=&|.<>*%^", &["++", "--", "..."]);
    !inside && !within
}

/// Whether two tokens would become another one without a space between them.
fn sticks(before: &str, after: &str) -> bool {
    let (Some(before), Some(after)) = (before.chars().last(), after.chars().next()) else { return false };
    is_word(before) && is_word(after) || before == after && matches!(before, '+' | '-' | '/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(source: &str) -> String {
        write(&read(source).unwrap())
    }

    #[test]
    fn comments_and_space_go_and_texts_stay() {
        assert_eq!(
            short("// a\nconst a = /* b */ 'x // y';\n/** c */\nlet b = a ? 1 : \"/*\";\n"),
            "const a='x // y';let b=a?1:\"/*\";"
        );
        assert_eq!(
            short("const a = `  // ${ b /* c */ + `}\\`${'}'}` }  \n  x`;"),
            "const a=`  // ${b+`}\\`${'}'}`}  \n  x`;"
        );
        assert_eq!(
            short("a = html`<b>\n  ${c} <i> x</i>  \n</b>`; d = `\n  e`"),
            "a=html`<b>\n${c} <i> x</>\n</>`;d=`\n  e`"
        );
        assert_eq!(short("html`<${A}><b>x</b><//>`; c`</b>`"), "html`<${A}><b>x</></>`;c`</b>`");
        assert_eq!(short("`\\\\${ a }$`"), "`\\\\${a}$`");
        assert_eq!(short("const a = `$\\{b} \\${c} ${{ d: 1 }.d}`;"), "const a=`$\\{b} \\${c} ${{d:1}.d}`;");
    }

    #[test]
    fn regular_expressions_are_told_from_division() {
        assert_eq!(short("const a = b / c / d;"), "const a=b/c/d;");
        assert_eq!(short("x.replace(/[/\"'`]\\/ /g, '') / 2;"), "x.replace(/[/\"'`]\\/ /g,'')/2;");
        assert_eq!(short("return /a b/.test(c)\n"), "return/a b/.test(c)");
        assert_eq!(short("(a) / b; [a] / b; `${/x y/}` / c;"), "(a)/b;[a]/b;`${/x y/}`/c;");
        assert!(read("if (a) { b }\n/x/.test(c)").unwrap_err().starts_with("line 2"));
    }

    #[test]
    fn what_would_become_something_else_is_kept_apart() {
        assert_eq!(short("a + +b - -c; d++ + e; typeof f; 1e-3 in g"), "a+ +b- -c;d++ +e;typeof f;1e-3 in g");
        assert_eq!(short("const a = 1\nconst b = 2\n"), "const a=1\nconst b=2");
        assert_eq!(short("a\n  .b()\n  ?.c;\nd++\ne"), "a.b()?.c;d++\ne");
        assert_eq!(short("async function a() {\n  return\n}\n"), "async function a(){return}");
        assert_eq!(short("a\n(b)\n[c]"), "a\n(b)\n[c]");
        assert_eq!(short("let a = [\n  ...b,\n  c,\n];"), "let a=[...b,c];");
    }

    #[test]
    fn parts_that_mean_nothing_go() {
        assert_eq!(short("(a) => { b(c,); };"), "a=>{b(c)};");
        assert_eq!(short("async (a) => a; f((a) => a, (a, b) => a)"), "async(a)=>a;f(a=>a,(a,b)=>a)");
        assert_eq!(short("const [, a] = [b,,]; for (;;) { c; }"), "const[,a]=[b,,];for(;;){c}");
    }

    #[test]
    fn what_does_not_end_is_refused_with_its_line() {
        for (source, line) in [
            ("a\n'b", "line 2"),
            ("`a${b}", "line 1"),
            ("\n\n/* a", "line 3"),
            ("a)", "line 1"),
            ("({", "a bracket"),
        ] {
            let error = read(source).unwrap_err();
            assert!(error.starts_with(line), "{source}: {error}");
        }
    }
}

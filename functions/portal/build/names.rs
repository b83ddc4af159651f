//! Gives names that a script declares shorter ones.
//!
//! All words that are spelled alike become another word that is spelled nowhere: whatever scopes there are, what
//! was one name stays one, and what were two stay two. That holds for words that are never anything but names of
//! variables, so one that is a property, a key or a method anywhere stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use super::script::{Kind, Token};

/// What declares a name.
const DECLARE: [&str; 4] = ["const", "let", "function", "class"];
/// Words that may be names, and mean something else in some places.
const CONTEXTUAL: [&str; 9] = ["as", "async", "await", "from", "get", "let", "of", "set", "static"];
/// Words that no name may be.
const RESERVED: [&str; 3] = ["do", "if", "in"];

/// Shortens names that are declared in the script or are among `imported`, but for those in `kept`: what each of
/// them is called now.
pub fn shorten(tokens: &mut [Token], imported: &BTreeSet<String>, kept: &[&str]) -> BTreeMap<String, String> {
    let words: BTreeSet<&str> =
        tokens.iter().filter(|token| token.kind == Kind::Word).map(|token| &*token.text).collect();
    let mut free = candidates().filter(|name| {
        !words.contains(&**name) && !RESERVED.contains(&&**name) && !CONTEXTUAL.contains(&&**name)
    });
    let mut counts: BTreeMap<String, usize> = imported.iter().map(|name| (name.clone(), 1)).collect();
    let mut fixed: BTreeSet<String> = kept.iter().chain(&CONTEXTUAL).map(|name| (*name).to_owned()).collect();
    let within = openers(tokens);
    for (at, token) in tokens.iter().enumerate().filter(|(_, token)| token.kind == Kind::Word) {
        let before = at.checked_sub(1).map(|at| &tokens[at]);
        let after = |at: usize| tokens.get(at);
        let declared = before.is_some_and(|before| DECLARE.iter().any(|word| before.is(word)));
        if declared {
            counts.entry(token.text.clone()).or_default();
        }
        let is = |token: Option<&Token>, signs: &[&str]| {
            token.is_some_and(|token| signs.iter().any(|sign| token.is(sign)))
        };
        let is_member = is(before, &[".", "?."]) || is(after(at + 1), &[":"]);
        let is_short = within[at].is_some_and(|opener| tokens[opener].is("{"))
            && is(before, &["{", ","])
            && is(after(at + 1), &[",", "}", "="]);
        let is_method = is(after(at + 1), &["("])
            && !is(before, &["function"])
            && is(after(closer(&within, tokens, at + 1) + 1), &["{"]);
        if is_member || is_short || is_method {
            fixed.insert(token.text.clone());
        }
    }
    for token in tokens.iter().filter(|token| token.kind == Kind::Word) {
        if let Some(count) = counts.get_mut(&token.text) {
            *count += 1;
        }
    }
    let mut names: Vec<_> = counts.into_iter().filter(|(name, _)| !fixed.contains(name)).collect();
    names.sort_by_key(|(name, count)| (std::cmp::Reverse(count * name.len()), name.clone()));
    let mut renamed = BTreeMap::new();
    let mut short = free.next();
    for (name, _) in names {
        if let Some(new) = short.clone().filter(|new| new.len() < name.len()) {
            renamed.insert(name, new);
            short = free.next();
        }
    }
    for token in tokens.iter_mut().filter(|token| token.kind == Kind::Word) {
        if let Some(new) = renamed.get(&token.text) {
            token.text.clone_from(new);
        }
    }
    renamed
}

/// Short names, the shortest first.
pub fn candidates() -> impl Iterator<Item = String> {
    let letters = || ('a'..='z').chain('A'..='Z');
    let two = letters().flat_map(move |first| letters().map(move |second| format!("{first}{second}")));
    letters().map(String::from).chain(two)
}

/// The bracket that each token is in.
fn openers(tokens: &[Token]) -> Vec<Option<usize>> {
    let mut open = Vec::new();
    let mut within = Vec::with_capacity(tokens.len());
    for (at, token) in tokens.iter().enumerate() {
        let is_template = token.kind == Kind::Template;
        let closes = matches!(token.kind, Kind::Sign) && [")", "]", "}"].contains(&&*token.text);
        if closes || is_template && token.text.starts_with('}') {
            open.pop();
        }
        within.push(open.last().copied());
        let opens = matches!(token.kind, Kind::Sign) && ["(", "[", "{"].contains(&&*token.text);
        if opens || is_template && token.text.ends_with("${") {
            open.push(at);
        }
    }
    within
}

/// Where the bracket that is opened at `opener` is closed.
fn closer(within: &[Option<usize>], tokens: &[Token], opener: usize) -> usize {
    let inside = within[opener + 1..].iter().take_while(|one| one.is_some_and(|one| one >= opener)).count();
    (opener + 1 + inside).min(tokens.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::super::script;
    use super::*;

    fn short(source: &str, imported: &[&str]) -> String {
        let mut tokens = script::read(source).unwrap();
        let imported = imported.iter().map(|name| (*name).to_owned()).collect();
        shorten(&mut tokens, &imported, &["document"]);
        script::write(&tokens)
    }

    #[test]
    fn one_name_stays_one_and_two_stay_two() {
        assert_eq!(
            short(
                "const first = 1; function second(a) { const third = first + a; return third; } second(first);",
                &[]
            ),
            "const b=1;function c(a){const d=b+a;return d}c(b);"
        );
        assert_eq!(short("html`${View}`; const View = html`x`;", &["html"]), "a`${b}`;const b=a`x`;");
    }

    #[test]
    fn what_is_more_than_a_variable_anywhere_stays() {
        for source in [
            "const name=1;a.name;",
            "const name=1;a={name:2};",
            "const name=1;a={name};",
            "const name=1;a={b:1,name,c:2};",
            "const name=1;const{name=2,c:{d}}=e;",
            "const name=1;class A{name(a){}}",
            "const name=1;a={name(a,b){}};",
            "const name=1;b?name:2;",
            "const document=1;",
            "const of=1;for(const a of b){}",
            "const name=1;a?.name;",
        ] {
            assert_eq!(short(source, &[]), source);
        }
    }

    #[test]
    fn calls_and_lists_are_no_keys() {
        assert_eq!(
            short("const name=1;f(x,name,y);if(name(1)){g}[x,name,y];`${name}`", &[]),
            "const a=1;f(x,a,y);if(a(1)){g}[x,a,y];`${a}`"
        );
        assert_eq!(short("function name(x){return x}", &[]), "function a(x){return x}");
    }
}

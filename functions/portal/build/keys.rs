//! Gives the keys of texts shorter names, in the catalogues and where scripts ask for them.
//!
//! A key is renamed only where nothing but `t('key')` names it: it is no other literal, no member of an object, and
//! does not begin or end as literals do that are put together with something else.

use std::collections::{BTreeMap, BTreeSet};

use super::names;
use super::script::{self, Kind, Token};

/// The function that looks a text up.
const LOOK_UP: &str = "t";

/// These sources, by file, with shorter keys: `catalogues` are those of texts, `modules` ask for them.
///
/// # Errors
/// What cannot be read, and in which file.
pub fn shorten(
    catalogues: &BTreeMap<String, String>,
    modules: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, String> {
    let mut catalogues = read(catalogues)?;
    let mut modules = read(modules)?;
    let counts = counts(&catalogues, &modules);
    let known: BTreeSet<String> =
        catalogues.values().flat_map(|tokens| keys(tokens)).map(|(_, key)| key).collect();
    let mut by_use: Vec<_> = counts.iter().filter(|(key, _)| key.len() > 2).collect();
    by_use.sort_by_key(|(key, count)| (std::cmp::Reverse(**count), (*key).clone()));
    let free = names::candidates().filter(|name| !known.contains(name));
    let renamed: BTreeMap<&String, String> =
        by_use.iter().map(|(key, _)| *key).zip(free).filter(|(key, short)| short.len() < key.len()).collect();
    for tokens in catalogues.values_mut() {
        for (at, key) in keys(tokens) {
            if let Some(short) = renamed.get(&key) {
                tokens[at] = Token { kind: Kind::Word, text: short.clone(), first: tokens[at].first };
            }
        }
    }
    for tokens in modules.values_mut() {
        for token in tokens {
            if let Some(short) = literal(token).and_then(|key| renamed.get(&key.to_owned())) {
                token.text = format!("'{short}'");
            }
        }
    }
    Ok(catalogues.into_iter().chain(modules).map(|(name, tokens)| (name, script::write(&tokens))).collect())
}

fn read(sources: &BTreeMap<String, String>) -> Result<BTreeMap<String, Vec<Token>>, String> {
    let read = |(name, source): (&String, &String)| match script::read(source) {
        Ok(tokens) => Ok((name.clone(), tokens)),
        Err(error) => Err(format!("{name}: {error}")),
    };
    sources.iter().map(read).collect()
}

/// The keys of a catalogue, and where they are.
fn keys(tokens: &[Token]) -> Vec<(usize, String)> {
    let is_key = |at: &usize| tokens.get(at + 1).is_some_and(|next| next.is(":"));
    let name = |at: usize| Some((at, literal(&tokens[at]).unwrap_or(&tokens[at].text).to_owned()));
    (0..tokens.len()).filter(is_key).filter_map(name).collect()
}

/// What is between the quotes.
fn literal(token: &Token) -> Option<&str> {
    (token.kind == Kind::Text).then(|| &token.text[1..token.text.len() - 1])
}

/// Keys that may be renamed, and how often they are asked for.
fn counts(
    catalogues: &BTreeMap<String, Vec<Token>>,
    modules: &BTreeMap<String, Vec<Token>>,
) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut kept: BTreeSet<&str> = BTreeSet::new();
    let (mut beginnings, mut ends) = (BTreeSet::new(), BTreeSet::new());
    for tokens in modules.values() {
        for (at, token) in tokens.iter().enumerate() {
            let is = |at: Option<usize>, signs: &[&str]| {
                at.and_then(|at| tokens.get(at)).is_some_and(|token| signs.iter().any(|sign| token.is(sign)))
            };
            let Some(text) = literal(token) else {
                // Names of an object's members are passed on as texts are.
                if token.kind == Kind::Word && is(Some(at + 1), &[":"]) {
                    kept.insert(&token.text);
                }
                continue;
            };
            if is(Some(at + 1), &["+"]) {
                beginnings.insert(text);
            } else if is(at.checked_sub(1), &["+"]) {
                ends.insert(text);
            } else if is(at.checked_sub(1), &["("])
                && is(at.checked_sub(2), &[LOOK_UP])
                && is(Some(at + 1), &[")", ","])
            {
                *counts.entry(text.to_owned()).or_default() += 1;
            } else {
                kept.insert(text);
            }
        }
    }
    let known: BTreeSet<String> =
        catalogues.values().flat_map(|tokens| keys(tokens)).map(|(_, key)| key).collect();
    let is_part = |key: &str, parts: &BTreeSet<&str>, holds: fn(&str, &str) -> bool| {
        parts.iter().any(|part| !part.is_empty() && holds(key, part))
    };
    counts.retain(|key, _| {
        known.contains(key)
            && !kept.contains(&**key)
            && !is_part(key, &beginnings, |key, part| key.starts_with(part))
            && !is_part(key, &ends, |key, part| key.ends_with(part))
    });
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(catalogue: &str, module: &str) -> (String, String) {
        let one = |name: &str, text: &str| BTreeMap::from([(name.to_owned(), text.to_owned())]);
        let mut both = shorten(&one("text", catalogue), &one("module", module)).unwrap();
        (both.remove("text").unwrap(), both.remove("module").unwrap())
    }

    #[test]
    fn a_key_that_is_only_asked_for_is_short() {
        assert_eq!(
            short(
                "export default {long: 'x: y', 'two-words': 'long', rest: ''};",
                "t('two-words', {n}) + t('long') + t('long')"
            ),
            ("export default{a:'x: y',b:'long',rest:''};".into(), "t('b',{n})+t('a')+t('a')".into())
        );
    }

    #[test]
    fn a_key_that_is_made_or_passed_on_stays() {
        for module in [
            "t('st_' + state); t('st_good')",
            "t(name + 'good'); t('st_good')",
            "show('st_good'); t('st_good')",
            "t(wrong ? 'st_good' : 'other'); t('st_good')",
            "t({st_good: 1}); t('st_good')",
        ] {
            let (catalogue, scripts) = short("export default {st_good: 'x'};", module);
            assert_eq!(catalogue, "export default{st_good:'x'};", "{module}");
            assert!(scripts.contains("t('st_good')"), "{scripts}");
        }
    }

    #[test]
    fn a_short_name_is_no_other_key() {
        let (catalogue, scripts) = short("export default {a: 'x', long: 'y'};", "t('a') + t('long')");
        assert_eq!((&*catalogue, &*scripts), ("export default{a:'x',b:'y'};", "t('a')+t('b')"));
    }
}

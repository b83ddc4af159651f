//! Makes lists of texts: keys become numbers, in the catalogues and where scripts ask for them.
//!
//! A key becomes a number only where nothing but `t('key')` names it: it is no other literal, no member of an object,
//! and does not begin or end as literals do that are put together with something else. The others keep their names:
//! a catalogue is a list that has them as members.

use std::collections::{BTreeMap, BTreeSet};

use super::script::{self, Kind, Token};

/// The function that looks a text up.
const LOOK_UP: &str = "t";

/// These sources, by file, with numbers for keys: `catalogues` are those of texts, `modules` ask for them.
///
/// # Errors
/// What cannot be read or is missing, and in which file.
pub fn number(
    catalogues: &BTreeMap<String, String>,
    modules: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, String> {
    let catalogues = read(catalogues)?;
    let mut modules = read(modules)?;
    let (mut order, mut texts) = (Vec::new(), BTreeMap::new());
    for (name, tokens) in &catalogues {
        let entries = entries(tokens).map_err(|error| format!("{name}: {error}"))?;
        if order.is_empty() {
            order.extend(entries.iter().map(|(key, _)| key.clone()));
        }
        texts.insert(name, entries.into_iter().collect::<BTreeMap<_, _>>());
    }
    let numbered = numbered(&order, &modules);
    let (list, named): (Vec<_>, Vec<_>) = order.iter().partition(|key| numbered.contains(*key));
    let mut made = BTreeMap::new();
    for (name, texts) in texts {
        let text =
            |key: &&String| texts.get(*key).map(|text| &*text.text).ok_or(format!("{name}: no text {key}"));
        let list = list.iter().map(text).collect::<Result<Vec<_>, _>>()?.join(",");
        let member = |key: &&String| Ok::<_, String>(format!("{}:{}", quoted(key), text(key)?));
        let named = named.iter().map(member).collect::<Result<Vec<_>, _>>()?.join(",");
        made.insert(name.clone(), format!("export default Object.assign([{list}],{{{named}}});"));
    }
    for tokens in modules.values_mut() {
        for token in tokens {
            if let Some(at) = literal(token).and_then(|key| list.iter().position(|known| *known == key)) {
                *token = Token { kind: Kind::Word, text: at.to_string(), first: token.first };
            }
        }
    }
    made.extend(modules.into_iter().map(|(name, tokens)| (name, script::write(&tokens))));
    Ok(made)
}

/// A key as an object's literal has it.
fn quoted(key: &str) -> String {
    let is_name = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_name { key.to_owned() } else { format!("'{key}'") }
}

fn read(sources: &BTreeMap<String, String>) -> Result<BTreeMap<String, Vec<Token>>, String> {
    let read = |(name, source): (&String, &String)| match script::read(source) {
        Ok(tokens) => Ok((name.clone(), tokens)),
        Err(error) => Err(format!("{name}: {error}")),
    };
    sources.iter().map(read).collect()
}

/// The keys of a catalogue and their texts.
fn entries(tokens: &[Token]) -> Result<Vec<(String, Token)>, String> {
    let is_key = |at: &usize| tokens.get(at + 1).is_some_and(|next| next.is(":"));
    let entry = |at: usize| {
        let key = literal(&tokens[at]).unwrap_or(&tokens[at].text).to_owned();
        let ends = tokens.get(at + 3).is_some_and(|next| next.is(",") || next.is("}"));
        let text = tokens.get(at + 2).filter(|text| ends && text.kind == Kind::Text);
        text.map(|text| (key.clone(), text.clone())).ok_or(format!("{key} is no text"))
    };
    (0..tokens.len()).filter(is_key).map(entry).collect()
}

/// What is between the quotes.
fn literal(token: &Token) -> Option<&str> {
    (token.kind == Kind::Text).then(|| &token.text[1..token.text.len() - 1])
}

/// Those of these keys that may become numbers.
fn numbered(keys: &[String], modules: &BTreeMap<String, Vec<Token>>) -> BTreeSet<String> {
    let mut asked: BTreeSet<&str> = BTreeSet::new();
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
                asked.insert(text);
            } else {
                kept.insert(text);
            }
        }
    }
    let is_part = |key: &str, parts: &BTreeSet<&str>, holds: fn(&str, &str) -> bool| {
        parts.iter().any(|part| !part.is_empty() && holds(key, part))
    };
    let may = |key: &&String| {
        asked.contains(&***key)
            && !kept.contains(&***key)
            && !is_part(key, &beginnings, |key, part| key.starts_with(part))
            && !is_part(key, &ends, |key, part| key.ends_with(part))
    };
    keys.iter().filter(may).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(catalogues: &[&str], module: &str) -> Result<(Vec<String>, String), String> {
        let texts =
            catalogues.iter().enumerate().map(|(at, text)| (format!("text-{at}"), (*text).to_owned()));
        let mut both = number(&texts.collect(), &BTreeMap::from([("module".to_owned(), module.to_owned())]))?;
        let module = both.remove("module").unwrap_or_default();
        Ok((both.into_values().collect(), module))
    }

    #[test]
    fn a_key_that_is_only_asked_for_is_a_number() {
        let (texts, module) = short(
            &[
                "export default {long: 'x: y', 'two-words': 'long', rest: '', a: \"b\"};",
                "export default {a: 'B', rest: 'R', 'two-words': 'long', long: 'X'};",
            ],
            "t('two-words', {n}) + t('long') + t('long') + t('a')",
        )
        .unwrap();
        assert_eq!(
            texts,
            [
                "export default Object.assign(['x: y','long',\"b\"],{rest:''});",
                "export default Object.assign(['X','long','B'],{rest:'R'});"
            ]
        );
        assert_eq!(module, "t(1,{n})+t(0)+t(0)+t(2)");
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
            let (catalogues, scripts) =
                short(&["export default {st_good: 'x', 'a-b': 'y'};"], module).unwrap();
            assert_eq!(catalogues, ["export default Object.assign([],{st_good:'x','a-b':'y'});"], "{module}");
            assert!(scripts.contains("t('st_good')"), "{scripts}");
        }
    }

    #[test]
    fn what_is_missing_or_no_text_is_refused() {
        for (second, expected) in
            [("{a: 'x'}", "text-1: no text b"), ("{a: 'x', b: c + 'y'}", "text-1: b is no text")]
        {
            let second = format!("export default {second};");
            let error = short(&["export default {a: 'x', b: 'y'};", &second], "t('a')").unwrap_err();
            assert_eq!(error, expected);
        }
    }
}

//! Gives names that a script declares shorter ones.
//!
//! A variable may be called whatever no other is called that is meant within its scope: functions beside each other
//! call their own alike, which is also what compresses best.

use std::collections::{BTreeMap, BTreeSet};

use super::scopes::{self, Scopes};
use super::script::Token;

/// Short words that no name may be.
const RESERVED: [&str; 5] = ["as", "do", "if", "in", "of"];

/// Shortens names that are declared in the script or are among `imported`: what the module's own are called now.
///
/// # Errors
/// What cannot be told about the script.
pub fn shorten(
    tokens: &mut [Token],
    imported: &BTreeSet<String>,
) -> Result<BTreeMap<String, String>, String> {
    let scopes = scopes::read(tokens, imported)?;
    let names = choose(tokens, &scopes);
    for (at, token) in tokens.iter_mut().enumerate() {
        if let Some(variable) = scopes.meant[at] {
            let name = &names[variable];
            // A member keeps its name.
            let is_other = scopes.both.contains(&at) && *name != token.text;
            token.text = if is_other { format!("{}:{name}", token.text) } else { name.clone() };
        }
    }
    let own = scopes.variables.iter().zip(names).filter(|(variable, _)| variable.scope == 0);
    Ok(own.map(|(variable, name)| (variable.name.clone(), name)).collect())
}

/// A name for each variable, in the order in which they are declared: names that are near each other are alike, which
/// compresses better than the shortest ones for what is used most.
fn choose(tokens: &[Token], scopes: &Scopes) -> Vec<String> {
    // Of each scope: which variables of others, and which words that nobody declares, are meant in it.
    let mut others = vec![BTreeSet::new(); scopes.outer.len()];
    let mut unknown = vec![BTreeSet::new(); scopes.outer.len()];
    for (at, variable) in scopes.meant.iter().enumerate() {
        let Some(variable) = *variable else { continue };
        let mut scope = scopes.within[at];
        while scope != scopes.variables[variable].scope {
            others[scope].insert(variable);
            let Some(outer) = scopes.outer[scope] else { break };
            scope = outer;
        }
    }
    for at in &scopes.unknown {
        let mut scope = Some(scopes.within[*at]);
        while let Some(one) = scope {
            unknown[one].insert(&*tokens[*at].text);
            scope = scopes.outer[one];
        }
    }
    let mut names: Vec<String> = scopes.variables.iter().map(|variable| variable.name.clone()).collect();
    let mut own = vec![Vec::new(); scopes.outer.len()];
    for (at, variable) in scopes.variables.iter().enumerate() {
        own[variable.scope].push(at);
    }
    for (scope, own) in own.iter().enumerate() {
        let taken: BTreeSet<String> = others[scope].iter().map(|other| names[*other].clone()).collect();
        let free = candidates().filter(|name| !taken.contains(name) && !unknown[scope].contains(&**name));
        for (variable, name) in own.iter().zip(free) {
            names[*variable] = name;
        }
    }
    names
}

/// Letters, those first that the rest of a script has most of.
const LETTERS: &str = "etnrisouaflchpdvmgybwESxTNCkLAOMDPHBjFIqRUzWXVJKQGYZ";

/// Short names, the shortest first.
fn candidates() -> impl Iterator<Item = String> {
    let letters = || LETTERS.chars();
    let two = letters().flat_map(move |first| letters().map(move |second| format!("{first}{second}")));
    letters().map(String::from).chain(two).filter(|name| !RESERVED.contains(&&**name))
}

#[cfg(test)]
mod tests {
    use super::super::script;
    use super::*;

    fn short(source: &str, imported: &[&str]) -> String {
        let mut tokens = script::read(source).unwrap();
        let imported = imported.iter().map(|name| (*name).to_owned()).collect();
        shorten(&mut tokens, &imported).unwrap();
        script::write(&tokens)
    }

    #[test]
    fn each_name_means_what_it_meant() {
        for (source, expected) in [
            (
                "const first = 1; function second(a) { const third = first + a; return third; } second(first);",
                "const e=1;function t(t){const n=e+t;return n}t(e);",
            ),
            // What is between a name and its use may be called as what is not meant there.
            ("const x = 1; const f = (y) => y; f(x);", "const e=1;const t=e=>e;t(e);"),
            ("const x = 1; { const x = 2; g(x); } g(x);", "const e=1;{const e=2;g(e)}g(e);"),
            ("const x = 1; for (const x of y) g(x); g(x);", "const e=1;for(const e of y)g(e);g(e);"),
            (
                "for (const x of y) if (x) g(x); else h(x); g(x);",
                "for(const e of y)if(e)g(e);else h(e);g(x);",
            ),
            ("const x = 1; try { x; } catch (x) { x; } x;", "const e=1;try{e}catch(e){e}e;"),
            ("const x = (y) => (z) => [x, y, z]; y;", "const e=t=>n=>[e,t,n];y;"),
            ("const f = a ? (x) => x : (y) => y;", "const e=a?e=>e:e=>e;"),
            ("const f = (x) => x ? y : x;", "const e=e=>e?y:e;"),
            (
                "switch (x) { case y: { const y = 1; y; } default: y; }",
                "switch(x){case y:{const e=1;e}default:y}",
            ),
            (
                "const x = 1; const f = (y) => html`${y} ${x} ${y}`; y;",
                "const e=1;const t=t=>html`${t} ${e} ${t}`;y;",
            ),
        ] {
            assert_eq!(short(source, &[]), expected);
        }
        assert_eq!(short("html`${View}`; const View = html`x`;", &["html"]), "e`${t}`;const t=e`x`;");
    }

    #[test]
    fn members_keep_their_names() {
        for (source, expected) in [
            ("const name = 1; a.name; a?.name; a = {name: name};", "const e=1;a.name;a?.name;a={name:e};"),
            ("const name = 1; a = {name, b: {name}, ...name};", "const e=1;a={name:e,b:{name:e},...e};"),
            ("const {name = 2, b: {c}, d: [x], ...f} = name;", "const{name:e=2,b:{c:t},d:[n],...r}=e;"),
            (
                "const f = ({name, x: {y = 1}}, [z]) => [name, y, z];",
                "const e=({name:e,x:{y:t=1}},[n])=>[e,t,n];",
            ),
            ("const name = 1; class A { name(x) { return x; } }", "const e=1;class t{name(e){return e}}"),
            (
                "const name = 1; a = {name(x) { return name; }, get name() { return 1; }};",
                "const e=1;a={name(t){return e},get name(){return 1}};",
            ),
            ("const name = 1; b ? name : 2; f(x, name); [x, name, y];", "const e=1;b?e:2;f(x,e);[x,e,y];"),
            (
                "const get = 1; a = {get name() { return get; }}; get;",
                "const e=1;a={get name(){return e}};e;",
            ),
            ("const x = `${name} ${{name: name}}`; const name = 1;", "const e=`${t} ${{name:t}}`;const t=1;"),
        ] {
            assert_eq!(short(source, &[]), expected);
        }
    }

    #[test]
    fn what_nobody_declares_stays() {
        assert_eq!(short("const x = (y) => e(y, document);", &[]), "const t=t=>e(t,document);");
    }
}

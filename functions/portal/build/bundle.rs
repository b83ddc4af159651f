//! Puts the page's modules into one: each module's top level becomes a part of one top level.
//!
//! So there is one request and one dictionary for compression, and nothing between the modules is left at run
//! time. It asks three things of the modules, and stops the build where one is not met: names at the top level
//! are different in all of them and none is a browser's; imports do not rename; a module that is imported as a
//! whole exports one named function or class as its default.

use std::collections::{BTreeMap, BTreeSet};

use super::names;
use super::script::{self, Kind, Token};

/// Names that modules use without declaring them.
const BROWSERS: [&str; 48] = [
    "atob",
    "btoa",
    "close",
    "confirm",
    "crypto",
    "document",
    "event",
    "fetch",
    "focus",
    "history",
    "innerWidth",
    "length",
    "location",
    "navigator",
    "open",
    "origin",
    "parent",
    "performance",
    "print",
    "prompt",
    "screen",
    "scroll",
    "scrollTo",
    "scrollY",
    "self",
    "sessionStorage",
    "status",
    "stop",
    "top",
    "window",
    "AbortController",
    "Array",
    "Blob",
    "Date",
    "Error",
    "Event",
    "HashChangeEvent",
    "Intl",
    "IntersectionObserver",
    "JSON",
    "Map",
    "Math",
    "Object",
    "Promise",
    "ResizeObserver",
    "Set",
    "TextEncoder",
    "URL",
];

/// A bundle on its way.
pub struct Bundle<'a> {
    /// The source of a module, by its specifier; none where it stays a file of its own.
    source: &'a dyn Fn(&str) -> Option<String>,
    /// Modules that are in it, with the names of their defaults; none while they are read.
    done: BTreeMap<String, Option<String>>,
    /// Who declared a name.
    declared: BTreeMap<String, String>,
    /// What comes from files of their own.
    imports: BTreeMap<String, BTreeSet<String>>,
    code: Vec<Token>,
}

/// One module of the module `entry` and all that it imports, for `source` to find.
///
/// # Errors
/// What cannot be put together, and in which module.
pub fn bundle(entry: &str, source: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut bundle = Bundle {
        source,
        done: BTreeMap::new(),
        declared: BTreeMap::new(),
        imports: BTreeMap::new(),
        code: Vec::new(),
    };
    bundle.add(entry).map_err(|error| format!("{entry}: {error}"))?;
    let imported = bundle.imports.values().flatten().cloned().collect();
    let renamed = names::shorten(&mut bundle.code, &imported)?;
    let imports = bundle.imports.iter().map(|(from, names)| {
        let names = names.iter().map(|name| match renamed.get(name) {
            Some(short) if short != name => format!("{name} as {short}"),
            _ => name.clone(),
        });
        format!("import{{{}}}from'{from}';\n", names.collect::<Vec<_>>().join(","))
    });
    Ok(imports.collect::<String>() + &script::write(&bundle.code))
}

impl Bundle<'_> {
    /// Adds a module behind those that it imports; the name of its default, if it has one.
    fn add(&mut self, module: &str) -> Result<(), String> {
        let source = (self.source)(module).ok_or("is missing")?;
        let tokens = script::read(&source)?;
        self.done.insert(module.to_owned(), None);
        let mut kept = Vec::new();
        let (mut depth, mut at) = (0_usize, 0);
        let mut default = None;
        while let Some(token) = tokens.get(at) {
            let next = tokens.get(at + 1);
            if token.is("import") && depth == 0 && !next.is_some_and(|next| next.is("(") || next.is(".")) {
                let end = tokens[at..].iter().position(|token| token.is(";")).ok_or("an import without ;")?;
                self.import(&tokens[at + 1..at + end])?;
                at += end + 1;
                continue;
            }
            if token.is("import") && next.is_some_and(|next| next.is("(")) {
                let specifier = tokens.get(at + 2).filter(|name| name.kind == Kind::Text);
                let specifier = unquoted(&specifier.ok_or("an import() of no literal")?.text);
                if let Some(name) = self.module(specifier)? {
                    let name = name.ok_or_else(|| format!("{specifier} has no default"))?;
                    kept.extend(script::read(&format!("Promise.resolve({{default:{name}}})"))?);
                    at += 4;
                    continue;
                }
            }
            if depth == 0 && token.is("export") {
                at += 1;
                if next.is_some_and(|next| next.is("default")) {
                    at += 1;
                    let found = declares(&tokens[at..]);
                    default = Some(found.ok_or("its default has no name")?.to_owned());
                } else if declares(&tokens[at..]).is_none() {
                    return Err("exports what it does not declare there".into());
                }
                continue;
            }
            let is_said = kept.last().is_some_and(|before: &Token| before.is("async"));
            if depth == 0
                && !is_said
                && let Some(name) = declares(&tokens[at..])
            {
                self.declare(name, module)?;
            }
            if token.kind == Kind::Template {
                depth -= usize::from(token.text.starts_with('}'));
                depth += usize::from(token.text.ends_with("${"));
            } else if token.kind == Kind::Sign {
                depth += usize::from("([{".contains(&token.text));
                depth -= usize::from(")]}".contains(&token.text));
            }
            kept.push(token.clone());
            at += 1;
        }
        self.done.insert(module.to_owned(), Some(default.unwrap_or_default()));
        self.code.extend(kept);
        Ok(())
    }

    /// Notes what `import … from '…'` is about.
    fn import(&mut self, tokens: &[Token]) -> Result<(), String> {
        let from = tokens.last().filter(|from| from.kind == Kind::Text).ok_or("an import from nowhere")?;
        let specifier = unquoted(&from.text);
        if tokens.iter().any(|token| token.is("as") || token.is("*")) {
            return Err(format!("renames what it imports from {specifier}"));
        }
        let default = self.module(specifier)?;
        let names = tokens.iter().filter(|token| token.kind == Kind::Word && token.text != "from");
        match default {
            None => {
                let names = names.map(|name| name.text.clone());
                self.imports.entry(specifier.to_owned()).or_default().extend(names);
            }
            Some(default) => {
                let whole = tokens.first().filter(|name| name.kind == Kind::Word);
                if whole.is_some_and(|name| default.as_deref() != Some(&name.text)) {
                    return Err(format!("names the default of {specifier} differently"));
                }
                if let Some(name) = names.into_iter().find(|name| !self.declared.contains_key(&name.text)) {
                    return Err(format!("{specifier} has no {}", name.text));
                }
            }
        }
        Ok(())
    }

    /// Adds the module of a specifier, if it is to be in the bundle: the name of its default.
    #[expect(clippy::option_option, reason = "whether it is in the bundle, and whether it has a default")]
    fn module(&mut self, specifier: &str) -> Result<Option<Option<String>>, String> {
        if !self.done.contains_key(specifier) {
            if (self.source)(specifier).is_none() {
                return Ok(None);
            }
            self.add(specifier).map_err(|error| format!("{specifier}: {error}"))?;
        }
        let default = self.done[specifier].clone().ok_or_else(|| format!("{specifier} imports itself"))?;
        Ok(Some(Some(default).filter(|name| !name.is_empty())))
    }

    fn declare(&mut self, name: &str, module: &str) -> Result<(), String> {
        if BROWSERS.contains(&name) {
            return Err(format!("{name} is the browser's"));
        }
        match self.declared.insert(name.to_owned(), module.to_owned()) {
            Some(other) => Err(format!("{name} is declared in {other}, too")),
            None => Ok(()),
        }
    }
}

/// The name that a statement declares.
fn declares(tokens: &[Token]) -> Option<&str> {
    let keywords = ["const", "let", "var", "function", "class"];
    let from = usize::from(tokens.first()?.is("async"));
    let name = tokens.get(from + 1).filter(|name| name.kind == Kind::Word)?;
    keywords.iter().any(|keyword| tokens[from].is(keyword)).then_some(&*name.text)
}

fn unquoted(text: &str) -> &str {
    text.trim_matches(['\'', '"'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(modules: &[(&str, &str)]) -> Result<String, String> {
        let source = |name: &str| {
            let found = modules.iter().find(|(module, _)| *module == name);
            found.map(|(_, source)| (*source).to_owned())
        };
        bundle("./main.js", &source)
    }

    #[test]
    fn modules_become_one_leaves_first() {
        let made = of(&[
            (
                "./main.js",
                "import A, { b } from './a.js';\nimport { html } from './lib.js';\nawait A(b);\nf(() => import('./a.js'), () => import('./text.js'));\n",
            ),
            (
                "./a.js",
                "import { html, x } from './lib.js';\nexport let b = 1;\nexport default async function A(c) { const d = c; b = `${d}`; }\n",
            ),
        ]);
        assert_eq!(
            made.unwrap(),
            "import{html as e,x as t}from'./lib.js';\nlet n=1;async function r(e){const t=e;n=`${t}`}\nawait r(n);f(()=>Promise.resolve({default:r}),()=>import('./text.js'));"
        );
    }

    #[test]
    fn what_cannot_be_put_together_is_refused() {
        for (modules, expected) in [
            (
                &[
                    ("./main.js", "import { a } from './a.js';\nconst b = 1;"),
                    ("./a.js", "export const a = 1;\nconst b = 2;"),
                ][..],
                "b is declared in ./a.js, too",
            ),
            (&[("./main.js", "const open = 1;")], "open is the browser's"),
            (
                &[("./main.js", "import { a as b } from './a.js';"), ("./a.js", "export const a = 1;")],
                "renames",
            ),
            (
                &[("./main.js", "import B from './a.js';"), ("./a.js", "export default function A() {}")],
                "differently",
            ),
            (&[("./main.js", "import { c } from './a.js';"), ("./a.js", "export const a = 1;")], "has no c"),
            (
                &[
                    ("./main.js", "import { a } from './a.js';"),
                    ("./a.js", "import { b } from './main.js';\nexport const a = 1;"),
                ],
                "imports itself",
            ),
            (&[("./main.js", "export { a };")], "exports what it does not declare"),
            (&[("./main.js", "export default {};")], "no name"),
        ] {
            let error = of(modules).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}

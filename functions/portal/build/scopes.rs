//! Which variables a script declares, and which of them each of its words means.
//!
//! Not a parser: it finds what opens a scope (a block, a function, a loop's head) and what declares a name, and
//! stops the build where it would have to guess. Beside the habits that `script` relies on, it asks for one name or
//! pattern behind each `const` and `let`, and for no function or class that is named within an expression.

use std::collections::{BTreeMap, BTreeSet};

use super::script::{Kind, Token};

/// Words that mean something else in some places: no variable is called so.
const CONTEXTUAL: [&str; 6] = ["as", "async", "await", "let", "of", "static"];

/// What a brace holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Brace {
    Block,
    /// An object, or the pattern of one.
    Object,
    Class,
}

/// A variable that the script declares or imports.
#[derive(Debug)]
pub struct Variable {
    /// As it is written.
    pub name: String,
    /// Where it is known: a place in `Scopes::outer`.
    pub scope: usize,
}

/// What the words of a script mean.
#[derive(Debug, Default)]
pub struct Scopes {
    /// For each scope the one around it, which comes before it. The first one is the module's.
    pub outer: Vec<Option<usize>>,
    /// Variables, in the order in which they are declared within their scopes.
    pub variables: Vec<Variable>,
    /// The scope of each token.
    pub within: Vec<usize>,
    /// The variable that each token means, if it means one.
    pub meant: Vec<Option<usize>>,
    /// Tokens that name a member of an object and the variable that is its value: `{a}` for `{a: a}`.
    pub both: BTreeSet<usize>,
    /// Words that no scope knows: the browser's, and the language's own.
    pub unknown: Vec<usize>,
}

/// Reads what the words of these tokens mean; `imported` are known everywhere.
///
/// # Errors
/// What would have to be guessed.
pub fn read(tokens: &[Token], imported: &BTreeSet<String>) -> Result<Scopes, String> {
    let mut reader = Reader::new(tokens)?;
    let module = reader.open(None);
    for name in imported {
        reader.declare(name, module)?;
    }
    reader.walk(0, tokens.len(), module)?;
    Ok(reader.meanings())
}

struct Reader<'a> {
    tokens: &'a [Token],
    /// For each token the bracket that it is in.
    opener: Vec<Option<usize>>,
    /// For each token that opens a bracket the one that closes it; else itself.
    closer: Vec<usize>,
    braces: Vec<Option<Brace>>,
    known: Vec<BTreeMap<String, usize>>,
    scopes: Scopes,
}

impl<'a> Reader<'a> {
    fn new(tokens: &'a [Token]) -> Result<Self, String> {
        let (mut open, mut opener) = (Vec::new(), Vec::with_capacity(tokens.len()));
        let mut closer: Vec<usize> = (0..tokens.len()).collect();
        for (at, token) in tokens.iter().enumerate() {
            if closes(token)
                && let Some(begun) = open.pop()
            {
                closer[begun] = at;
            }
            opener.push(open.last().copied());
            if opens(token) {
                open.push(at);
            }
        }
        let scopes =
            Scopes { within: vec![0; tokens.len()], meant: vec![None; tokens.len()], ..Scopes::default() };
        let braces = vec![None; tokens.len()];
        let mut reader = Self { tokens, opener, closer, braces, known: Vec::new(), scopes };
        for at in (0..tokens.len()).filter(|at| tokens[*at].is("{")) {
            reader.braces[at] =
                Some(reader.brace(at).ok_or_else(|| reader.fail(at, "a { that holds what?"))?);
        }
        Ok(reader)
    }

    fn fail(&self, at: usize, what: &str) -> String {
        let near: Vec<_> =
            self.tokens[at.saturating_sub(6)..].iter().take(12).map(|token| &*token.text).collect();
        format!("{what} near {}", near.join(" "))
    }

    fn is(&self, at: usize, signs: &[&str]) -> bool {
        self.tokens.get(at).is_some_and(|token| signs.iter().any(|sign| token.is(sign)))
    }

    /// Whether the token before is one of these; at the very beginning it is none.
    fn follows(&self, at: usize, signs: &[&str]) -> bool {
        at.checked_sub(1).is_some_and(|before| self.is(before, signs))
    }

    fn is_word(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|token| token.kind == Kind::Word)
    }

    /// Where the bracket or the template ends that begins at `at`; any other token is its own end.
    fn end(&self, at: usize) -> usize {
        let mut end = self.closer[at];
        // Parts of a template close and open.
        while opens(&self.tokens[end]) && self.closer[end] != end {
            end = self.closer[end];
        }
        end
    }

    /// What the brace at `at` holds, by what is before it.
    fn brace(&self, at: usize) -> Option<Brace> {
        let Some(before) = at.checked_sub(1) else { return Some(Brace::Block) };
        let token = &self.tokens[before];
        match token.kind {
            Kind::Text | Kind::Regex => None,
            Kind::Template => token.text.ends_with("${").then_some(Brace::Object),
            Kind::Word if ["else", "try", "finally", "do", "catch"].contains(&&*token.text) => {
                Some(Brace::Block)
            }
            Kind::Word if self.follows(before, &["class", "extends"]) => Some(Brace::Class),
            Kind::Word => ["return", "of", "in", "await", "const", "let", "case", "throw"]
                .contains(&&*token.text)
                .then_some(Brace::Object),
            Kind::Sign => match &*token.text {
                ")" | "=>" | ";" | "}" => Some(Brace::Block),
                "{" => (self.braces[before] == Some(Brace::Block)).then_some(Brace::Block),
                ":" if self.is_case(before) => Some(Brace::Block),
                _ => Some(Brace::Object),
            },
        }
    }

    /// Whether the colon at `at` is behind a `case` or a `default`.
    fn is_case(&self, at: usize) -> bool {
        let inside = self.opener[at].map_or(0, |opener| opener + 1);
        let level = (inside..at).rev().filter(|one| self.opener[*one] == self.opener[at]);
        let mut told = level.filter(|one| self.is(*one, &["case", "default", "?", ";"]));
        told.next().is_some_and(|one| self.is(one, &["case", "default"]))
    }

    fn open(&mut self, outer: Option<usize>) -> usize {
        self.scopes.outer.push(outer);
        self.known.push(BTreeMap::new());
        self.known.len() - 1
    }

    fn declare(&mut self, name: &str, scope: usize) -> Result<(), String> {
        if CONTEXTUAL.contains(&name) {
            return Err(format!("a variable is called {name}"));
        }
        let next = self.scopes.variables.len();
        if *self.known[scope].entry(name.to_owned()).or_insert(next) == next {
            self.scopes.variables.push(Variable { name: name.to_owned(), scope });
        }
        Ok(())
    }

    /// Declares what the pattern at `at` names.
    fn pattern(&mut self, at: usize, scope: usize) -> Result<(), String> {
        let at = at + usize::from(self.is(at, &["..."]));
        if self.is_word(at) {
            return self.declare(&self.tokens[at].text, scope);
        }
        if !self.is(at, &["[", "{", "("]) {
            return Err(self.fail(at, "a pattern of what?"));
        }
        let mut element = at + 1;
        while element < self.end(at) {
            if self.is(at, &["{"]) && self.is(element, &["["]) {
                return Err(self.fail(element, "a pattern of what?"));
            }
            let is_member = self.is(at, &["{"]) && self.is(element + 1, &[":"]);
            if !self.is(element, &[","]) {
                self.pattern(if is_member { element + 2 } else { element }, scope)?;
            }
            while element < self.end(at) && !self.is(element, &[","]) {
                element = self.end(element) + 1;
            }
            element += 1;
        }
        Ok(())
    }

    /// Finds what is declared between `at` and `end`, and the scopes in there.
    fn walk(&mut self, mut at: usize, end: usize, scope: usize) -> Result<(), String> {
        while at < end {
            self.scopes.within[at] = scope;
            let is_name = self.follows(at, &[".", "?."]) || self.is_key(at);
            if is_name {
                at += 1;
            } else if self.is(at, &["function", "class"]) {
                let is_statement =
                    at == 0 || self.follows(at, &[";", "}", "{", "async"]) || self.tokens[at].first;
                if !is_statement || !self.is_word(at + 1) {
                    return Err(self.fail(at, "a function or class within an expression"));
                }
                self.declare(&self.tokens[at + 1].text, scope)?;
                self.scopes.within[at + 1] = scope;
                at = if self.is(at, &["class"]) { at + 2 } else { self.function(at + 2, scope)? };
            } else if self.is(at, &["catch"]) && self.is(at + 1, &["("]) || self.is_method(at) {
                at = self.function(at + 1, scope)?;
            } else if self.is(at, &["for"]) {
                let head = at + 1 + usize::from(self.is(at + 1, &["await"]));
                let inner = self.open(Some(scope));
                let after = self.statement_end(self.end(head) + 1)?;
                self.walk(at + 1, after, inner)?;
                at = after;
            } else if self.is(at, &["const", "let"]) {
                self.pattern(at + 1, scope)?;
                let mut after = self.end(at + 1) + 1;
                while after < end && !closes(&self.tokens[after]) && !self.is(after, &[";", "of", "in"]) {
                    if self.is(after, &[",", "const", "let"]) {
                        return Err(self.fail(after, "a const or let of more than one, or without a ;"));
                    }
                    after = if self.is_arrow(after) { self.arrow_end(after)? } else { self.end(after) + 1 };
                }
                at += 1;
            } else if self.is_arrow(at) {
                let inner = self.open(Some(scope));
                self.pattern(at, inner)?;
                let after = self.arrow_end(at)?;
                let body = self.end(at) + 2;
                self.scopes.within[at] = inner;
                self.walk(at + 1, body, inner)?;
                let is_block = self.braces[body] == Some(Brace::Block);
                self.walk(body + usize::from(is_block), after, inner)?;
                at = after;
            } else if self.braces[at] == Some(Brace::Block) {
                let inner = self.open(Some(scope));
                self.walk(at + 1, self.end(at), inner)?;
                at = self.end(at);
            } else {
                at += 1;
            }
        }
        Ok(())
    }

    /// A function from its parameters on, which open at `at`; where it ends.
    fn function(&mut self, at: usize, scope: usize) -> Result<usize, String> {
        let body = self.end(at) + 1;
        if !self.is(at, &["("]) || !self.is(body, &["{"]) {
            return Err(self.fail(at, "a function without a body"));
        }
        let inner = self.open(Some(scope));
        self.pattern(at, inner)?;
        self.walk(at + 1, body, inner)?;
        self.walk(body + 1, self.end(body), inner)?;
        Ok(self.end(body) + 1)
    }

    /// Whether parameters of an arrow function begin here.
    fn is_arrow(&self, at: usize) -> bool {
        (self.is(at, &["("]) || self.is_word(at)) && self.is(self.end(at) + 1, &["=>"])
    }

    /// Where the arrow function ends whose parameters begin at `at`.
    fn arrow_end(&self, at: usize) -> Result<usize, String> {
        let body = self.end(at) + 2;
        if self.braces[body] == Some(Brace::Block) {
            return Ok(self.end(body) + 1);
        }
        let (mut end, mut choices) = (body, 0_usize);
        while let Some(token) = self.tokens.get(end).filter(|token| !closes(token)) {
            if [",", ";"].iter().any(|sign| token.is(sign)) || token.is(":") && choices == 0 {
                break;
            }
            if ["const", "let", "function", "class", "return"].iter().any(|word| token.is(word)) {
                return Err(self.fail(end, "a function without a ; behind it"));
            }
            choices += usize::from(token.is("?"));
            choices -= usize::from(token.is(":"));
            end = if self.is_arrow(end) { self.arrow_end(end)? } else { self.end(end) + 1 };
        }
        Ok(end)
    }

    /// Where the statement ends that begins at `at`.
    fn statement_end(&self, at: usize) -> Result<usize, String> {
        if self.is(at, &["{"]) {
            return Ok(self.end(at) + 1);
        }
        if self.is(at, &["try", "do", "switch"]) {
            return Err(self.fail(at, "what is repeated needs braces"));
        }
        if self.is(at, &["if", "while", "for"]) {
            let after = self.statement_end(self.end(at + 1) + 1)?;
            return if self.is(after, &["else"]) { self.statement_end(after + 1) } else { Ok(after) };
        }
        let mut end = at;
        while self.tokens.get(end).is_some_and(|token| !closes(token)) {
            if self.is(end, &[";"]) {
                return Ok(end + 1);
            }
            end = self.end(end) + 1;
        }
        Ok(end)
    }

    /// What the bracket around a token holds, if it is a brace.
    fn held_by(&self, at: usize) -> Option<Brace> {
        self.opener[at].and_then(|opener| self.braces[opener])
    }

    /// Whether it is where a member of an object or a class begins.
    fn begins_member(&self, at: usize) -> bool {
        match self.held_by(at) {
            Some(Brace::Object) => self.follows(at, &["{", ","]),
            Some(Brace::Class) => self.follows(at, &["{", "}", ";"]),
            _ => false,
        }
    }

    /// Whether it names a member, or says what kind of member comes.
    fn is_key(&self, at: usize) -> bool {
        let fields = self.held_by(at) == Some(Brace::Class) && self.is(at + 1, &["=", ";"]);
        self.is_word(at)
            && self.begins_member(at)
            && (fields || self.is(at + 1, &[":", "*"]) || self.is_word(at + 1) || self.is(at + 1, &["["]))
    }

    fn is_method(&self, at: usize) -> bool {
        let begins = self.begins_member(at) || self.is_word(at) && at > 0 && self.is_key(at - 1);
        begins
            && matches!(self.held_by(at), Some(Brace::Object | Brace::Class))
            && self.is(at + 1, &["("])
            && self.is(self.end(at + 1) + 1, &["{"])
    }

    /// What each word means, once everything is declared.
    fn meanings(mut self) -> Scopes {
        for at in 0..self.tokens.len() {
            let token = &self.tokens[at];
            let is_name = token.kind != Kind::Word
                || token.text.starts_with(|c: char| c.is_ascii_digit())
                || self.follows(at, &[".", "?."])
                || self.is_key(at)
                || self.is_method(at);
            if is_name {
                continue;
            }
            let mut scope = Some(self.scopes.within[at]);
            while let Some(one) = scope {
                if let Some(variable) = self.known[one].get(&token.text) {
                    self.scopes.meant[at] = Some(*variable);
                    break;
                }
                scope = self.scopes.outer[one];
            }
            if scope.is_none() {
                self.scopes.unknown.push(at);
            } else if self.held_by(at) == Some(Brace::Object)
                && self.follows(at, &["{", ","])
                && self.is(at + 1, &[",", "}", "="])
            {
                self.scopes.both.insert(at);
            }
        }
        self.scopes
    }
}

fn opens(token: &Token) -> bool {
    match token.kind {
        Kind::Template => token.text.ends_with("${"),
        kind => kind == Kind::Sign && ["(", "[", "{"].contains(&&*token.text),
    }
}

fn closes(token: &Token) -> bool {
    match token.kind {
        Kind::Template => token.text.starts_with('}'),
        kind => kind == Kind::Sign && [")", "]", "}"].contains(&&*token.text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::script;
    use super::*;

    #[test]
    fn what_would_have_to_be_guessed_is_refused() {
        for (source, expected) in [
            ("const a = 1, b = 2;", "more than one"),
            ("const a = 1\nconst b = 2;", "without a ;"),
            ("const a = function b() {};", "within an expression"),
            ("const of = 1;", "called of"),
            ("for (const a of b) try { c; } catch {}", "needs braces"),
            ("const a = (b) => c\nconst d = 1;", "without a ;"),
            ("const {[a]: b} = c;", "a pattern of what?"),
            ("a {b}", "holds what?"),
        ] {
            let error = read(&script::read(source).unwrap(), &BTreeSet::new()).unwrap_err();
            assert!(error.contains(expected), "{source}: {error}");
        }
    }
}

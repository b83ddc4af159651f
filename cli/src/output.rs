//! What a person or a program sees: tables, JSON, colours where they belong, progress.

use std::io::{IsTerminal as _, Write as _};

use serde_json::Value;

use crate::connection::Env;
use crate::error::{CliError, Result};
use crate::json::{escaped, one_line, pretty};

/// How texts are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Green,
    Red,
    Dim,
    Bold,
}

impl Colour {
    const fn code(self) -> &'static str {
        match self {
            Self::Green => "32",
            Self::Red => "31",
            Self::Dim => "2",
            Self::Bold => "1",
        }
    }
}

/// Standard output and error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    colours: bool,
    terminal: bool,
    progress: bool,
}

/// What an API's text may not do to a terminal: control characters are shown as `?`.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

impl Output {
    pub(crate) fn standard(env: Env<'_>) -> Self {
        let terminal = std::io::stdout().is_terminal();
        // https://no-color.org: present and not empty.
        let colours = terminal && env("NO_COLOR").is_none_or(|value| value.is_empty());
        let colours = colours && env("TERM").as_deref() != Some("dumb");
        Self { colours, terminal, progress: std::io::stderr().is_terminal() }
    }

    /// Whether a person looks on.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// The text in a colour, where there are colours.
    pub(crate) fn paint(&self, colour: Colour, text: &str) -> String {
        if self.colours { format!("\x1b[{}m{text}\x1b[0m", colour.code()) } else { text.to_owned() }
    }

    /// One line. A reader that went away (`| head`) ends the command quietly.
    pub(crate) fn line(&self, text: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        match out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(CliError::ReaderGone),
            Err(error) => Err(CliError::usage(format!("cannot write to standard output: {error}"))),
        }
    }

    /// A JSON text: in lines for a person, as it came for a program.
    pub(crate) fn json(&self, text: &str) -> Result<()> {
        if self.terminal { self.line(&pretty(text)) } else { self.line(text) }
    }

    /// A JSON text on a line of its own, as it came but for line breaks.
    pub(crate) fn json_line(&self, text: &str) -> Result<()> {
        let line = one_line(text);
        if self.terminal { self.line(&escaped(&line)) } else { self.line(&line) }
    }

    /// A table for people; `headed` says whether with its heads, which the first page of a list has.
    pub(crate) fn table(&self, head: &[&str], rows: Vec<Vec<String>>, headed: bool) -> Result<()> {
        let rows: Vec<Vec<String>> =
            rows.into_iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([head[column].chars().count()]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let joined = |cells: &mut dyn Iterator<Item = &str>| {
            let cells: Vec<String> =
                cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            cells.join("  ").trim_end().to_owned()
        };
        if headed {
            self.line(&self.paint(Colour::Dim, &joined(&mut head.iter().copied())))?;
        }
        for row in &rows {
            self.line(&joined(&mut row.iter().map(String::as_str)))?;
        }
        Ok(())
    }

    /// A line that the next one of its kind replaces, on a terminal only.
    pub(crate) fn progress(&self, text: &str) {
        if self.progress {
            let _lost = std::io::stderr().write_all(format!("\r\x1b[K{text}").as_bytes());
        }
    }

    /// Ends what `progress` shows.
    pub(crate) fn progress_done(&self) {
        self.progress("");
    }

    /// A remark on standard error.
    pub(crate) fn note(&self, text: &str) {
        let _lost = std::io::stderr().write_all(format!("{}\n", plain(text)).as_bytes());
    }

    /// An error, on one line.
    pub(crate) fn complain(&self, text: &str) {
        self.note(&format!("postrider: {text}"));
    }
}

/// A text of a JSON object, or nothing.
pub(crate) fn text(value: &Value, name: &str) -> String {
    match &value[name] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_server_sends_moves_the_cursor() {
        assert_eq!(plain("a\x1b[2Jb\r\n"), "a?[2Jb??");
    }

    #[test]
    fn colours_are_for_terminals() {
        let out = |colours| Output { colours, terminal: colours, progress: false };
        assert_eq!(out(false).paint(Colour::Red, "x"), "x");
        assert_eq!(out(true).paint(Colour::Red, "x"), "\x1b[31mx\x1b[0m");
    }
}

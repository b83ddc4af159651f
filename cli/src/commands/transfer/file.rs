//! The file of an environment: JSON lines. A header with the version, event types, connectors, each application
//! followed by its endpoints, and a last line with the counts, without which the file is not whole.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Cursor, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::code::Transformation;
use super::record::{App, Connector, Counts, Endpoint, Fields, Kind};
use super::source::object;
use crate::error::{CliError, Result};

/// The version of the format.
const VERSION: u64 = 1;
/// The longest line: twice what the API takes for one thing.
const LINE_LENGTH_MAX: u64 = 2 * 1024 * 1024;
/// The most that is read from standard input, which is held in memory: some 500,000 endpoints.
const STANDARD_LENGTH_MAX: u64 = 256 * 1024 * 1024;
/// The field of an endpoint whose URL had a user and a password.
const HIDDEN_LOGIN: &str = "hiddenLogin";

/// One line.
#[derive(Debug)]
pub(super) enum Line {
    EventType(Fields),
    Connector(Connector),
    App(App),
    /// An endpoint of the application before it.
    Endpoint(App, Box<Endpoint>),
}

/// What is read, more than once: checked, compared and applied.
#[derive(Debug)]
pub(super) enum Input {
    File(String),
    /// Standard input, which can be read but once.
    Standard(Arc<[u8]>),
}

impl Input {
    /// The file with that name; `-` is standard input, which is read to its end.
    pub(super) fn of(path: &str) -> Result<Self> {
        if path != "-" {
            return Ok(Self::File(path.to_owned()));
        }
        let mut text = Vec::new();
        std::io::stdin()
            .lock()
            .take(STANDARD_LENGTH_MAX + 1)
            .read_to_end(&mut text)
            .map_err(|error| CliError::usage(format!("cannot read standard input: {error}")))?;
        if text.len() as u64 > STANDARD_LENGTH_MAX {
            let most = STANDARD_LENGTH_MAX / 1024 / 1024;
            return Err(CliError::usage(format!(
                "standard input is longer than {most} MiB: write it to a file, and import that"
            )));
        }
        Ok(Self::Standard(text.into()))
    }

    /// Begins to read it.
    ///
    /// # Errors
    /// It cannot be read, or does not begin as such a file does.
    pub(super) fn open(&self) -> Result<Reader> {
        match self {
            Self::File(path) => {
                let file = File::open(path)
                    .map_err(|error| CliError::usage(format!("cannot read {path}: {error}")))?;
                Reader::new(path, Box::new(BufReader::new(file)))
            }
            Self::Standard(text) => Reader::new("standard input", Box::new(Cursor::new(Arc::clone(text)))),
        }
    }
}

/// Reads a file of an environment.
pub(super) struct Reader {
    path: String,
    lines: Box<dyn BufRead + Send>,
    number: u64,
    app: Option<App>,
    counts: Counts,
    ended: bool,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("path", &self.path)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Reader {
    fn new(path: &str, lines: Box<dyn BufRead + Send>) -> Result<Self> {
        let counts = Counts::default();
        let mut reader = Self { path: path.to_owned(), lines, number: 0, app: None, counts, ended: false };
        let head = reader.value()?.unwrap_or_default();
        if head["postrider"] != "export" {
            return Err(reader.wrong("not an environment's file (`postrider export` writes one)"));
        }
        if head["version"] != VERSION {
            let version = &head["version"];
            return Err(
                reader.wrong(&format!("version {version} of the format; this postrider reads {VERSION}"))
            );
        }
        Ok(reader)
    }

    pub(super) fn wrong(&self, problem: &str) -> CliError {
        CliError::usage(format!("{}, line {}: {problem}", self.path, self.number))
    }

    fn value(&mut self) -> Result<Option<Value>> {
        let mut line = Vec::new();
        let read = (&mut self.lines).take(LINE_LENGTH_MAX + 1).read_until(b'\n', &mut line);
        self.number += 1;
        read.map_err(|error| self.wrong(&format!("cannot be read: {error}")))?;
        if line.is_empty() {
            return Ok(None);
        }
        if line.len() as u64 > LINE_LENGTH_MAX {
            return Err(self.wrong("longer than 2 MiB"));
        }
        serde_json::from_slice(&line).map(Some).map_err(|error| self.wrong(&format!("not JSON: {error}")))
    }

    /// Takes a field out of a line's object.
    fn take(&self, object: &mut Fields, name: &str, kind: &str) -> Result<Option<Value>> {
        let value = object.remove(name);
        let right = match (&value, kind) {
            (None, _)
            | (Some(Value::String(_)), "string")
            | (Some(Value::Object(_)), "object")
            | (Some(Value::Bool(_)), "boolean") => true,
            (Some(Value::Array(list)), "list") => list.iter().all(Value::is_string),
            _ => false,
        };
        if right { Ok(value) } else { Err(self.wrong(&format!("{name} is not a {kind}"))) }
    }

    /// The rest of a line's object: the copied fields and no others.
    fn fields(&self, kind: Kind, object: Fields) -> Result<Fields> {
        if let Some(name) = object.keys().find(|name| !kind.fields().contains(&name.as_str())) {
            return Err(self.wrong(&format!("unknown field {name:?} of the {}", kind.name())));
        }
        let must = if kind == Kind::Endpoint { "url" } else { "name" };
        let elsewhere = kind == Kind::Endpoint && object.get("destination").is_some_and(Value::is_object);
        if !elsewhere && !object.get(must).is_some_and(Value::is_string) {
            return Err(self.wrong(&format!("the {} needs a {must}", kind.name())));
        }
        Ok(kind.pick(&Value::Object(object)))
    }

    /// The next thing; none at the end of a whole file.
    pub(super) fn next(&mut self) -> Result<Option<Line>> {
        let Some(value) = self.value()? else {
            return if self.ended {
                Ok(None)
            } else {
                Err(self.wrong("the file ends here, and is not whole: export it again"))
            };
        };
        if self.ended {
            return Err(self.wrong("there is something after the end"));
        }
        let mut line = object(value).unwrap_or_default().into_iter();
        let (Some((name, value)), None) = (line.next(), line.next()) else {
            return Err(self.wrong("expected an object with one field"));
        };
        if name == "end" {
            if value != counts(self.counts) {
                return Err(self.wrong("the counts differ from what the file holds: export it again"));
            }
            self.ended = true;
            return self.next();
        }
        let Some(mut value) = object(value) else { return Err(self.wrong("expected an object")) };
        let mut id = |reader: &Self| match reader.take(&mut value, "id", "string")? {
            Some(Value::String(id)) if !id.is_empty() => Ok(id),
            _ => Err(reader.wrong("it needs an id")),
        };
        match name.as_str() {
            "eventType" => {
                self.counts[Kind::EventType as usize] += 1;
                Ok(Some(Line::EventType(self.fields(Kind::EventType, value)?)))
            }
            "connector" => {
                self.counts[Kind::Connector as usize] += 1;
                let id = id(self)?;
                Ok(Some(Line::Connector(Connector { id, fields: self.fields(Kind::Connector, value)? })))
            }
            "application" => {
                self.counts[Kind::Application as usize] += 1;
                let id = id(self)?;
                let app = App { id, fields: self.fields(Kind::Application, value)? };
                self.app = Some(app.clone());
                Ok(Some(Line::App(app)))
            }
            "endpoint" => {
                self.counts[Kind::Endpoint as usize] += 1;
                let Some(app) = self.app.clone() else {
                    return Err(self.wrong("an endpoint comes after its application"));
                };
                let id = id(self)?;
                let secret = self.take(&mut value, "secret", "string")?;
                let headers = self.take(&mut value, "headers", "object")?;
                let hidden = self.take(&mut value, "hiddenHeaders", "list")?.unwrap_or_default();
                let code = self.take(&mut value, "transformation", "object")?;
                let login = self.take(&mut value, HIDDEN_LOGIN, "boolean")?;
                let hidden = hidden.as_array().into_iter().flatten().filter_map(Value::as_str);
                let endpoint = Endpoint {
                    id,
                    secret: secret.as_ref().and_then(Value::as_str).map(str::to_owned),
                    headers: headers.and_then(object),
                    hidden: hidden.map(str::to_owned).collect(),
                    transformation: code.as_ref().map(Transformation::of),
                    code_is_hidden: false,
                    login_is_hidden: login == Some(Value::Bool(true)),
                    fields: self.fields(Kind::Endpoint, value)?,
                };
                Ok(Some(Line::Endpoint(app, Box::new(endpoint))))
            }
            _ => Err(self.wrong(&format!("unknown field {name:?}"))),
        }
    }
}

fn counts([event_types, connectors, applications, endpoints]: Counts) -> Value {
    let mut counts =
        json!({ "eventTypes": event_types, "applications": applications, "endpoints": endpoints });
    // Files of before connectors were copied do not have it.
    if connectors > 0 {
        counts["connectors"] = json!(connectors);
    }
    counts
}

/// Writes a file of an environment. It gets its name once it is whole; dropped before, nothing is left of it.
pub(super) struct Writer {
    /// The place and the name that it has until then; none for standard output.
    place: Option<(PathBuf, PathBuf)>,
    out: BufWriter<Box<dyn std::io::Write + Send>>,
    pub(super) counts: Counts,
}

impl Writer {
    pub(super) fn create(path: &str, force: bool, secrets: bool, now: &str) -> Result<Self> {
        let mut writer = if path == "-" {
            Self { place: None, out: BufWriter::new(Box::new(std::io::stdout())), counts: Counts::default() }
        } else {
            let place = PathBuf::from(path);
            let name =
                place.file_name().ok_or_else(|| CliError::usage(format!("{path} is not a file's name")))?;
            if !force && place.symlink_metadata().is_ok() {
                return Err(CliError::usage(format!("{path} exists; --force replaces it")));
            }
            let folder = place.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
            let part = folder.join(format!(".{}.{}.part", name.to_string_lossy(), std::process::id()));
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let failed = |error: std::io::Error| CliError::usage(format!("cannot write {path}: {error}"));
            let file = options.open(&part).map_err(failed)?;
            let out: Box<dyn std::io::Write + Send> = Box::new(file);
            Self { place: Some((part, place)), out: BufWriter::new(out), counts: Counts::default() }
        };
        writer.line(
            &json!({ "postrider": "export", "version": VERSION, "createdAt": now, "secrets": secrets }),
        )?;
        Ok(writer)
    }

    fn line(&mut self, value: &Value) -> Result<()> {
        let written = serde_json::to_writer(&mut self.out, value).map_err(std::io::Error::from);
        written.and_then(|()| self.out.write_all(b"\n")).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &std::io::Error) -> CliError {
        let name = self
            .place
            .as_ref()
            .map_or_else(|| "standard output".into(), |(_, place)| place.display().to_string());
        CliError::usage(format!("cannot write {name}: {error}; nothing was kept of it"))
    }

    pub(super) fn event_type(&mut self, fields: &Fields) -> Result<()> {
        self.counts[Kind::EventType as usize] += 1;
        self.line(&json!({ "eventType": fields }))
    }

    pub(super) fn connector(&mut self, connector: &Connector) -> Result<()> {
        self.counts[Kind::Connector as usize] += 1;
        let mut fields = Map::from_iter([("id".to_owned(), json!(connector.id))]);
        fields.extend(connector.fields.clone());
        self.line(&json!({ "connector": fields }))
    }

    pub(super) fn app(&mut self, app: &App) -> Result<()> {
        self.counts[Kind::Application as usize] += 1;
        let mut fields = Map::from_iter([("id".to_owned(), json!(app.id))]);
        fields.extend(app.fields.clone());
        self.line(&json!({ "application": fields }))
    }

    pub(super) fn endpoint(&mut self, endpoint: &Endpoint) -> Result<()> {
        self.counts[Kind::Endpoint as usize] += 1;
        let mut fields = Map::from_iter([("id".to_owned(), json!(endpoint.id))]);
        fields.extend(endpoint.fields.clone());
        if let Some(secret) = &endpoint.secret {
            fields.insert("secret".into(), json!(secret));
        }
        if let Some(headers) = endpoint.headers.as_ref().filter(|headers| !headers.is_empty()) {
            fields.insert("headers".into(), json!(headers));
        }
        if !endpoint.hidden.is_empty() {
            fields.insert("hiddenHeaders".into(), json!(endpoint.hidden));
        }
        if let Some(code) = endpoint.transformation.as_ref().filter(|code| !code.is_empty()) {
            fields.insert("transformation".into(), code.body());
        }
        if endpoint.login_is_hidden {
            fields.insert(HIDDEN_LOGIN.into(), json!(true));
        }
        self.line(&json!({ "endpoint": fields }))
    }

    /// Writes the last line, and gives the file its name once the disk has it.
    pub(super) fn finish(mut self) -> Result<Counts> {
        self.line(&json!({ "end": counts(self.counts) }))?;
        let flushed = self.out.flush();
        let named = flushed.and_then(|()| match &self.place {
            Some((part, place)) => File::open(part)?.sync_all().and_then(|()| std::fs::rename(part, place)),
            None => Ok(()),
        });
        named.map_err(|error| self.failed(&error))?;
        self.place = None;
        Ok(self.counts)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some((part, _)) = &self.place {
            let _gone = std::fs::remove_file(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_whole_or_not_ours_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let all = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let mut reader = Input::of(path.to_str().unwrap())?.open()?;
            let mut lines = Vec::new();
            while let Some(line) = reader.next()? {
                lines.push(line);
            }
            Ok::<_, CliError>(lines)
        };
        let head = r#"{"postrider":"export","version":1}"#;
        let app = r#"{"application":{"id":"app_1","name":"A"}}"#;
        let end = r#"{"end":{"applications":1,"endpoints":0,"eventTypes":0}}"#;
        assert_eq!(all(&format!("{head}\n{app}\n{end}\n")).unwrap().len(), 1);
        for (text, says) in [
            (String::new(), "not an environment's file"),
            ("{}".into(), "line 1"),
            (r#"{"postrider":"export","version":2}"#.into(), "version 2"),
            (format!("{head}\n{app}\n"), "line 3: the file ends here"),
            (format!("{head}\n{}", &app[..20]), "line 2: not JSON"),
            (format!("{head}\n{end}"), "counts differ"),
            (format!("{head}\n{app}\n{end}\n{app}"), "after the end"),
            (format!("{head}\n{}", r#"{"endpoint":{"id":"e","url":"http://a"}}"#), "after its application"),
            (format!("{head}\n{}", r#"{"application":{"id":"a","name":"x","nmae":1}}"#), "unknown field"),
            (format!("{head}\n{}", r#"{"application":{"name":"x"}}"#), "needs an id"),
            (format!("{head}\n{}", "x".repeat(LINE_LENGTH_MAX as usize + 1)), "longer than 2 MiB"),
        ] {
            let error = all(&text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_file_has_its_name_once_it_is_whole_and_is_its_owners() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let name = path.to_str().unwrap();
        let writer = Writer::create(name, false, true, "now").unwrap();
        assert!(!path.exists());
        drop(writer);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let writer = Writer::create(name, false, true, "now").unwrap();
        assert_eq!(writer.finish().unwrap(), Counts::default());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            let mode =
                std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
        assert!(Writer::create(name, false, true, "now").err().unwrap().to_string().contains("--force"));
        // A disk that is full.
        if Path::new("/dev/full").exists() {
            let full: Box<dyn std::io::Write + Send> =
                Box::new(OpenOptions::new().write(true).open("/dev/full").unwrap());
            let part = folder.path().join("part");
            std::fs::write(&part, "").unwrap();
            let place = Some((part.clone(), folder.path().join("y")));
            let writer = Writer { place, out: BufWriter::new(full), counts: Counts::default() };
            assert!(writer.finish().unwrap_err().to_string().contains("nothing was kept"));
            assert!(!part.exists() && !folder.path().join("y").exists());
        }
    }
}

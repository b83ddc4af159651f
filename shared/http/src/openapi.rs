//! The OpenAPI document, made from what the functions declare (see [`operation`](super::operation)).
//!
//! It is version 3.0.3: nothing in it needs 3.1, and every generator and checker reads 3.0.

mod words;

use std::collections::BTreeMap;

use axum::handler::Handler;
use http::Method;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use input::{BodyType, Fields, Note};

use super::Responses as _;
use super::error::{ErrorOut, ViolationsOut};
use super::operation::{Content, Input, Inputs, Operation, Registry, Returns};

/// Operations that were declared, as their descriptions.
#[derive(Default)]
pub struct Document {
    operations: Vec<Operation>,
}

impl<S> Registry<S> for Document {
    fn operation<H, T>(
        mut self,
        method: Method,
        path: &'static str,
        _: H,
        describe: impl FnOnce(Operation) -> Operation,
    ) -> Self
    where
        H: Handler<T, S> + Returns<T>,
        T: Inputs + 'static,
    {
        self.operations.push(describe(Operation::new(method, path, T::INPUTS, H::Responses::declared())));
        self
    }
}

/// The document while it grows.
struct Writer {
    generator: SchemaGenerator,
    /// Schemas of request bodies.
    bodies: BTreeMap<&'static str, Value>,
    problems: Vec<String>,
}

impl Document {
    /// The document, of this version of Postrider.
    ///
    /// # Errors
    /// Everything that descriptions lack or contradict, one line each.
    pub fn write(self, version: &str) -> Result<Value, Vec<String>> {
        let mut settings = SchemaSettings::openapi3().for_serialize();
        settings.inline_subschemas = false;
        let generator = settings.into_generator();
        let mut writer = Writer { generator, bodies: BTreeMap::new(), problems: Vec::new() };
        let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
        let mut ids = BTreeMap::new();
        for operation in &self.operations {
            if let Some(other) = ids.insert(operation.id, operation.path) {
                writer.problem(operation, format!("its id is also that of {other}"));
            }
            let written = writer.operation(operation);
            let methods = paths.entry(operation.path).or_default();
            if methods.insert(key(&operation.method), written).is_some() {
                writer.problem(operation, "is declared twice");
            }
        }
        let errors = words::ERRORS.iter().map(|error| (error.name.to_owned(), writer.error(error)));
        let responses: Map<String, Value> = errors.collect();
        let used: Vec<&str> = self.operations.iter().map(|operation| operation.tag).collect();
        let tags = words::TAGS.iter().filter(|(tag, _)| used.contains(tag));
        let tags: Vec<Value> =
            tags.map(|(tag, about)| json!({ "name": tag, "description": about })).collect();
        let mut schemas = writer.generator.take_definitions(true);
        schemas.values_mut().for_each(never_null_if_left_out);
        for (name, body) in writer.bodies {
            if schemas.insert(name.into(), body).is_some() {
                writer.problems.push(format!("{name} names a body and a response"));
            }
        }
        if let Err(problem) = exemplify(&mut schemas) {
            writer.problems.push(problem);
        }
        if !writer.problems.is_empty() {
            return Err(writer.problems);
        }
        Ok(json!({
            "openapi": "3.0.3",
            "info": {
                "title": "Postrider",
                "version": version,
                "description": words::ABOUT,
                "license": { "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" },
            },
            "servers": [{ "url": "/" }],
            "tags": tags,
            "paths": paths,
            "components": {
                "schemas": schemas,
                "responses": responses,
                "securitySchemes": {
                    "organisation": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": words::ORGANISATION },
                    "application": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": words::APPLICATION },
                },
            },
        }))
    }
}

impl Writer {
    fn problem(&mut self, operation: &Operation, problem: impl std::fmt::Display) {
        self.problems.push(format!("{} {}: {problem}", key(&operation.method), operation.path));
    }

    fn operation(&mut self, operation: &Operation) -> Value {
        for (what, text) in [("id", operation.id), ("summary", operation.summary)] {
            if text.is_empty() {
                self.problem(operation, format!("has no {what}"));
            }
        }
        if !words::TAGS.iter().any(|(tag, _)| *tag == operation.tag) {
            self.problem(operation, format!("its tag {:?} is not explained", operation.tag));
        }
        for (status, _) in &operation.undescribed {
            self.problem(operation, format!("does not say what its handler's {status} means"));
        }
        if operation.described_too_often {
            self.problem(operation, "describes more responses than its handler has");
        }
        let mut written = json!({
            "operationId": operation.id,
            "tags": [operation.tag],
            "summary": operation.summary,
            "parameters": self.parameters(operation),
            "responses": self.responses(operation),
            "security": security(operation.inputs),
        });
        if !operation.text.is_empty() {
            written["description"] = operation.text.into();
        }
        if operation.deprecated {
            written["deprecated"] = true.into();
        }
        if let Some(body) = operation.body {
            let content = json!({ "application/json": { "schema": self.body(body) } });
            written["requestBody"] = json!({ "required": !body.optional, "content": content });
        }
        written
    }

    fn parameters(&mut self, operation: &Operation) -> Vec<Value> {
        let mut written = Vec::new();
        let segments = operation.path.split('/');
        let named: Vec<&str> =
            segments.filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')).collect();
        let taken = operation.inputs.iter().find_map(|input| match input {
            Input::Path(names) => Some(*names),
            _ => None,
        });
        let taken = taken.unwrap_or_default();
        if taken != named {
            self.problem(operation, format!("its path names {named:?}, its handler {taken:?}"));
        }
        for name in named {
            let about = self.about(operation, name);
            written.push(json!({
                "name": name, "in": "path", "required": true, "description": about, "schema": { "type": "string" },
            }));
        }
        let mut seen: BTreeMap<&str, Value> = BTreeMap::new();
        for parameter in operation.query.iter().flat_map(super::RawQuery::notes) {
            let mut note = Note::new(&[parameter.name], parameter.shape);
            (note.nullable, note.rules, note.default) = (false, parameter.rules, parameter.default);
            let (mut schema, _) = note.schema();
            if !parameter.choice.is_empty() {
                schema.remove("maximum");
                schema.insert("enum".into(), parameter.choice.into());
            }
            let mut about = self.about(operation, parameter.name);
            if let Some(what) = parameter.what {
                about = format!("{about} It should be {what}.");
            }
            let parameter_written = json!({
                "name": parameter.name, "in": "query", "required": false, "description": about, "schema": schema,
            });
            match seen.get(parameter.name) {
                None => written.push(parameter_written.clone()),
                Some(earlier) if *earlier == parameter_written => {}
                Some(_) => self.problem(operation, format!("reads {} in two ways", parameter.name)),
            }
            seen.insert(parameter.name, parameter_written);
        }
        if operation.method == Method::POST {
            written.push(json!({
                "name": "idempotency-key", "in": "header", "required": false, "description": words::IDEMPOTENCY_KEY,
                "schema": { "type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[!-~]+$" },
            }));
        }
        written
    }

    /// What a parameter means, in this operation or everywhere.
    fn about(&mut self, operation: &Operation, name: &str) -> String {
        let own = operation.parameters.iter().find(|(own, _)| *own == name);
        match own.or_else(|| words::PARAMETERS.iter().find(|(known, _)| *known == name)) {
            Some((_, about)) => (*about).to_owned(),
            None => {
                self.problem(operation, format!("nothing says what the parameter {name} means"));
                String::new()
            }
        }
    }

    fn responses(&mut self, operation: &Operation) -> Map<String, Value> {
        let mut responses = Map::new();
        for answer in &operation.responses {
            let content = match answer.content {
                Content::Nothing => None,
                Content::Json(schema) => Some(("application/json", schema(&mut self.generator).to_value())),
                Content::Text(content_type) => Some((content_type, json!({ "type": "string" }))),
            };
            let mut written = json!({ "description": answer.about });
            if let Some((content_type, schema)) = content {
                written["content"] = json!({ content_type: { "schema": schema } });
            }
            responses.insert(answer.status.to_string(), written);
        }
        for error in words::ERRORS.iter().filter(|error| (error.of)(operation)) {
            let reference = json!({ "$ref": format!("#/components/responses/{}", error.name) });
            responses.entry(error.status.to_string()).or_insert(reference);
        }
        responses
    }

    fn error(&mut self, error: &words::SharedError) -> Value {
        let schema = match error.status {
            422 => ViolationsOut::json_schema_ref(&mut self.generator),
            _ => ErrorOut::json_schema_ref(&mut self.generator),
        };
        let content = json!({ "application/json": { "schema": schema } });
        let mut written = json!({ "description": error.about, "content": content });
        if error.status == 429 {
            let seconds = json!({ "type": "integer", "minimum": 1 });
            written["headers"] =
                json!({ "Retry-After": { "description": "Seconds to wait.", "schema": seconds } });
        }
        written
    }

    /// A reference to the schema of a body, which is written if it is not there yet.
    fn body(&mut self, body: &'static BodyType) -> Value {
        let mut fields = Fields::describing();
        (body.read)(&mut fields);
        let mut known: Vec<&str> = Vec::new();
        let schema = self.object(body, "", &fields.into_notes(), &mut known);
        for (name, _) in body.fields.iter().filter(|(name, _)| !known.contains(name)) {
            self.problems.push(format!("{}: nothing reads {name}", body.name));
        }
        if let Some(earlier) = self.bodies.insert(body.name, schema.clone())
            && earlier != schema
        {
            self.problems.push(format!("{} names two bodies", body.name));
        }
        json!({ "$ref": format!("#/components/schemas/{}", body.name) })
    }

    fn object(
        &mut self,
        body: &'static BodyType,
        at: &str,
        notes: &[Note],
        known: &mut Vec<&'static str>,
    ) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for note in notes {
            let Some((name, others)) = note.names.split_first() else { continue };
            let place = format!("{at}{name}");
            let about = body.fields.iter().find(|(named, _)| *named == place);
            let (mut schema, words) = note.schema();
            match (&note.parts, body.parts.iter().find(|(named, _)| *named == place)) {
                (_, Some((_, part))) => {
                    let reference = self.body(part);
                    if schema.contains_key("items") {
                        schema.insert("items".into(), reference);
                    } else {
                        schema = Map::from_iter([("allOf".to_owned(), json!([reference]))]);
                        schema.insert("nullable".into(), note.nullable.into());
                    }
                    let own = note.parts.as_deref().unwrap_or_default();
                    let written = self.object(part, "", own, &mut Vec::new());
                    if self.bodies.get(part.name) != Some(&written) {
                        self.problems.push(format!("{}: {place} is no {}", body.name, part.name));
                    }
                }
                (Some(parts), None) => {
                    let Value::Object(part) = self.object(body, &format!("{place}."), parts, known) else {
                        continue;
                    };
                    schema = part;
                    schema.insert("nullable".into(), note.nullable.into());
                }
                (None, None) => {}
            }
            let mut sentences: Vec<&str> = Vec::new();
            match about {
                Some((named, about)) => {
                    known.push(named);
                    sentences.push(about);
                }
                None => self.problems.push(format!("{}: nothing says what {place} means", body.name)),
            }
            sentences.extend(words.iter().map(String::as_str));
            let description = sentences.join(" ");
            for other in others {
                let mut schema = schema.clone();
                schema.insert("description".into(), format!("Another spelling of `{name}`.").into());
                properties.insert((*other).to_owned(), Value::Object(schema));
            }
            schema.insert("description".into(), description.into());
            if properties.insert((*name).to_owned(), Value::Object(schema)).is_some() {
                self.problems.push(format!("{}: {place} is read twice", body.name));
            }
            if note.required {
                required.push(*name);
            }
        }
        let mut written = json!({ "type": "object", "properties": properties });
        if !required.is_empty() {
            required.sort_unstable();
            written["required"] = json!(required);
        }
        written
    }
}

/// A method as OpenAPI writes it.
fn key(method: &Method) -> String {
    method.as_str().to_ascii_lowercase()
}

fn security(inputs: &[Input]) -> Value {
    if inputs.iter().any(|input| matches!(input, Input::OrganisationToken)) {
        json!([{ "organisation": [] }])
    } else if inputs.iter().any(|input| matches!(input, Input::ApplicationToken)) {
        json!([{ "application": [] }])
    } else if inputs.iter().any(|input| matches!(input, Input::AnyToken)) {
        json!([{ "organisation": [] }, { "application": [] }])
    } else {
        json!([])
    }
}

/// Gives each schema its example. Tests hold each against its schema and, of a body, against the API.
fn exemplify(schemas: &mut Map<String, Value>) -> Result<(), String> {
    let examples: BTreeMap<String, Value> = serde_json::from_str(words::EXAMPLES)
        .map_err(|error| format!("the examples are no JSON: {error}"))?;
    for (name, example) in examples {
        // A document of a few operations has a few schemas.
        if let Some(Value::Object(schema)) = schemas.get_mut(&name) {
            schema.insert("example".into(), example);
        }
    }
    Ok(())
}

/// A field that is left out where it has no value is not `null` where it is there.
fn never_null_if_left_out(schema: &mut Value) {
    let required = schema.get("required").cloned().unwrap_or_default();
    let is_required = |name: &str| required.as_array().is_some_and(|all| all.iter().any(|one| one == name));
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    for (name, property) in properties {
        if let Value::Object(property) = property
            && !is_required(name)
        {
            property.remove("nullable");
        }
    }
}

/// A reference to a type's schema in the components.
trait Referenced: JsonSchema {
    fn json_schema_ref(generator: &mut SchemaGenerator) -> Value {
        generator.subschema_for::<Self>().to_value()
    }
}

impl<T: JsonSchema> Referenced for T {}

#[cfg(test)]
mod tests {
    use axum::Router;

    use super::*;
    use crate::auth::{Authenticated, Organisation};
    use crate::{
        Api, ApiResult, AppRef, Body, Created, Json, ListOut, Page, Path, Query, QueryParams, RawQuery,
        RequestBody, Text,
    };
    use domain::error::{Error, Result};
    use runtime::clock::Timestamp;

    struct ThingIn;

    impl RequestBody for ThingIn {
        type With = ();
        const TYPE: BodyType = BodyType::of::<Self>(
            "ThingIn",
            &[
                ("name", "Its name."),
                ("off", "Not in use."),
                ("part", "A part."),
                ("part.size", "How long it is."),
            ],
        );

        fn read(fields: &mut Fields<'_>, (): ()) -> Self {
            fields.required_text(&["name"], Text::Uid("app_"));
            fields.or(&["off"], false);
            if let Some(mut part) = fields.object("part") {
                part.optional::<u8>(&["size", "length"]);
                fields.absorb(part);
            }
            Self
        }
    }

    struct WithContent;

    impl QueryParams for WithContent {
        fn read(query: &RawQuery, _: Timestamp) -> Result<Self> {
            query.flag("with_content", true).map(|_| Self)
        }
    }

    #[derive(serde::Serialize, JsonSchema)]
    struct ThingOut {
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        size: Option<u8>,
        kept: Option<String>,
    }

    async fn make(
        _: Organisation,
        _: Path<(AppRef,)>,
        _: Query<WithContent>,
        _: Body<ThingIn>,
    ) -> ApiResult<Created<ThingOut>> {
        Err(Error::NotFound("Thing").into())
    }

    async fn look(_: Authenticated) -> Json<ListOut<ThingOut>> {
        let page = Page { entries: Vec::<ThingOut>::new(), done: true, resume: None };
        Json(ListOut::new(page, |thing| thing.name.clone(), |thing| thing))
    }

    fn operations<R: Registry<Api>>(to: R) -> R {
        to.post("/things/{app_id}", make, |operation| {
            operation.named("thing.make", "Application").summary("Make a thing").returns("Made.")
        })
        .get("/things", look, |operation| {
            operation.named("thing.list", "Application").summary("List things").returns("A page.")
        })
    }

    #[test]
    fn one_declaration_makes_routes_and_descriptions() {
        let _: Router<Api> = operations(Router::new());
        let written = operations(Document::default()).write("1.2.3").unwrap();
        let post = &written["paths"]["/things/{app_id}"]["post"];
        assert_eq!(post["security"], json!([{ "organisation": [] }]));
        let names: Vec<_> =
            post["parameters"].as_array().unwrap().iter().map(|p| p["name"].clone()).collect();
        assert_eq!(names, ["app_id", "with_content", "idempotency-key"]);
        assert_eq!(post["parameters"][1]["schema"], json!({ "type": "boolean", "default": true }));
        let body = &written["components"]["schemas"]["ThingIn"];
        assert_eq!(body["required"], json!(["name"]));
        assert_eq!(
            body["properties"]["name"],
            json!({
                "type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[a-zA-Z0-9\\-_.]+$",
                "description": "Its name. It must not be `.` or `..`. It must not begin with `app_`.",
            })
        );
        let part = &body["properties"]["part"]["properties"];
        assert_eq!(part["size"]["maximum"], 255);
        assert_eq!(part["length"]["description"], "Another spelling of `size`.");
        let answer = &written["components"]["schemas"]["ThingOut"];
        assert_eq!(answer["required"], json!(["name", "kept"]));
        assert_eq!(answer["properties"]["kept"]["nullable"], true);
        assert!(answer["properties"]["size"].get("nullable").is_none());
        let list = &written["paths"]["/things"]["get"]["responses"]["200"]["content"]["application/json"];
        assert_eq!(list["schema"]["$ref"], "#/components/schemas/ListOfThingOut");
    }

    #[test]
    fn what_is_missing_is_named() {
        let document = Document::default();
        let document = Registry::<Api>::post(document, "/things/{whatever}", make, |operation| {
            operation.named("x", "Application")
        });
        let document = Registry::<Api>::get(document, "/things", look, |operation| {
            operation.named("y", "Application").summary("List things").returns("A page.").returns("Nothing.")
        });
        assert_eq!(
            document.write("1").unwrap_err(),
            [
                "post /things/{whatever}: has no summary",
                "post /things/{whatever}: does not say what its handler's 201 means",
                "post /things/{whatever}: its path names [\"whatever\"], its handler [\"app_id\"]",
                "post /things/{whatever}: nothing says what the parameter whatever means",
                "get /things: describes more responses than its handler has",
            ]
        );
    }
}

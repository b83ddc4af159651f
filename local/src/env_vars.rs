//! The functions' environments as a file: what `sam local … --env-vars` puts into its containers.

use std::collections::BTreeMap;
use std::path::Path;

use sam_template::Template;
use serde_json::{Map, Value};
use shared::config::ConfigError;

use crate::error::StartError;
use crate::secrets;

/// Writes the variables that each function has by the template, by its logical id, for nobody else to
/// read: secrets are among them. `endpoint` is where both services are.
pub(crate) fn write(
    path: &Path,
    template: &Template,
    environments: &BTreeMap<String, BTreeMap<String, String>>,
    endpoint: Option<&str>,
) -> Result<(), StartError> {
    let failed = |error: String| {
        let problem = format!("cannot write {}: {error}", path.display());
        StartError::from(ConfigError::new("POSTRIDER_ENV_VARS", problem))
    };
    let mut functions = Map::new();
    for function in &template.functions {
        let variables = environments[&function.name]
            .iter()
            .filter(|(name, _)| function.environment.contains_key(*name))
            .map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        let mut variables: Map<String, Value> = variables.collect();
        if let Some(endpoint) = endpoint {
            variables.insert("AWS_ENDPOINT_URL".to_owned(), endpoint.into());
        }
        functions.insert(function.logical_id.clone(), variables.into());
    }
    let file = secrets::private_file(path).map_err(|error| failed(error.to_string()))?;
    // One that was there already may be for everybody.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .map_err(|error| failed(error.to_string()))?;
    drop(file);
    std::fs::write(path, Value::from(functions).to_string()).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::TEMPLATE;

    #[test]
    fn it_holds_what_the_template_declares_and_nothing_else() {
        let template = Template::parse(TEMPLATE).unwrap();
        let given = [("POSTRIDER_LOG", "warn"), ("POSTRIDER_RETRIES_QUEUE", "q"), ("AWS_ACCESS_KEY_ID", "x")];
        let given: BTreeMap<String, String> =
            given.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let environments =
            template.functions.iter().map(|function| (function.name.clone(), given.clone())).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env.json");
        write(&path, &template, &environments, Some("http://172.17.0.1:1")).unwrap();
        let written: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(written.as_object().unwrap().len(), template.functions.len());
        let expected = serde_json::json!({
            "AWS_ENDPOINT_URL": "http://172.17.0.1:1", "POSTRIDER_LOG": "warn", "POSTRIDER_RETRIES_QUEUE": "q"
        });
        assert_eq!(written["TimersFunction"], expected);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
            write(&path, &template, &environments, None).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(write(&folder.path().join("no/where"), &template, &environments, None).is_err());
    }
}

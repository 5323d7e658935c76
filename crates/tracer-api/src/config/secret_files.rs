//! Secrets that stand in files: `DATABASE_URL_FILE` names a file that holds what `DATABASE_URL` would.
//!
//! So container engines and Kubernetes hand secrets over; a variable is seen by whoever may inspect a container.
//! Every variable of a secret setting has such a twin, and no other has. The file is read once, at the start.

use std::collections::BTreeMap;

use super::ConfigError;
use super::layers::{ALIASES, variable_of};
use super::show::SECRETS;

/// What the name of a variable ends with that names a file.
const SUFFIX: &str = "_FILE";

/// A variable's text, and the variable that it came from.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) source: String,
    pub(super) text: String,
}

/// Returns the environment by name, with the text of each file as that of the variable it stands for.
///
/// # Errors
/// [`ConfigError`], if a file cannot be read or is empty, or if a secret is given both ways.
pub(super) fn read<I>(variables: I) -> Result<BTreeMap<String, Given>, ConfigError>
where
    I: IntoIterator<Item = (String, String)>,
{
    let mut given: BTreeMap<String, Given> =
        variables.into_iter().map(|(name, text)| (name.clone(), Given { source: name, text })).collect();
    for name in names() {
        let source = format!("{name}{SUFFIX}");
        // Empty is as not set: so a file of Compose hands on what may be there.
        let Some(file) = given.remove(&source).map(|file| file.text).filter(|file| !file.is_empty()) else {
            continue;
        };
        if given.get(&name).is_some_and(|direct| !direct.text.is_empty()) {
            return Err(ConfigError::Twice { name, file: source });
        }
        let text = text_of(&source, &file)?;
        given.insert(name, Given { source, text });
    }
    Ok(given)
}

/// Returns the variables of the secrets, the short names too.
fn names() -> impl Iterator<Item = String> {
    let aliases = ALIASES.iter().filter(|(_, key)| SECRETS.contains(key)).map(|(name, _)| (*name).to_owned());
    aliases.chain(SECRETS.iter().map(|key| variable_of(key)))
}

fn text_of(variable: &str, file: &str) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(file).map_err(|source| ConfigError::SecretFile {
        variable: variable.to_owned(),
        file: file.to_owned(),
        source,
    })?;
    // Editors and `echo` end a file with a new line, which no secret does.
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if text.trim().is_empty() {
        return Err(ConfigError::SecretEmpty { variable: variable.to_owned(), file: file.to_owned() });
    }
    Ok(text.to_owned())
}

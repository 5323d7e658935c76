//! Errors with their causes, for logs and terminals.

use std::error::Error;
use std::fmt;

/// Shows an error and what caused it, joined by colons.
///
/// Messages leave their cause out, so that what is told to a client gives nothing away; whoever logs
/// an error shows all of it.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::RepositoryError;

    #[test]
    fn causes_follow_what_they_caused() {
        let cause =
            RepositoryError::Unavailable { reason: "the database is away", source: Some("refused".into()) };
        let error = RepositoryError::Internal { context: "asking", source: Some(Box::new(cause)) };
        assert_eq!(
            Chain(&error).to_string(),
            "the store failed: asking: the store is unavailable: the database is away: refused"
        );
    }
}

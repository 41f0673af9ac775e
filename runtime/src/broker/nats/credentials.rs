//! A file of credentials, read anew for each connection: whoever rotates it need
//! not restart the host.
//!
//! A user's token and the seed that signs for it, each between two lines of
//! dashes, as `nsc` writes them.

use std::path::Path;

use async_nats::{Auth, AuthError};
use nkeys::KeyPair;

/// What proves to a server who we are.
pub(super) struct Credentials {
    token: String,
    key: KeyPair,
}

impl Credentials {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// Says what is wrong with it, without what stands in it.
    pub(super) fn read(path: &Path) -> Result<Credentials, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let parts = parts(&text);
        let [token, seed, ..] = parts.as_slice() else {
            return Err("it has not both a token and a seed".to_owned());
        };
        let key = KeyPair::from_seed(seed).map_err(|_| "its seed is none".to_owned())?;
        Ok(Credentials { token: (*token).to_owned(), key })
    }

    /// The answer to what a server sends for being signed.
    fn sign(self, nonce: &[u8]) -> Result<Auth, String> {
        let mut auth = Auth::new();
        auth.signature = Some(self.key.sign(nonce).map_err(|error| error.to_string())?);
        auth.jwt = Some(self.token);
        Ok(auth)
    }
}

/// Answers a server with what is in the file at `path` now.
pub(super) fn answer(path: &Path, nonce: &[u8]) -> Result<Auth, AuthError> {
    let answer = Credentials::read(path).and_then(|credentials| credentials.sign(nonce));
    let path = path.display();
    answer.map_err(|problem| AuthError::new(format!("credentials file `{path}`: {problem}")))
}

/// What stands alone between two lines of dashes, and may be a token or a seed:
/// comments may stand there, too.
fn parts(text: &str) -> Vec<&str> {
    let is_mark = |line: &str| line.starts_with("---");
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let windows = lines.windows(3).filter_map(|window| match window {
        [before, part, after] if is_mark(before) && is_mark(after) => Some(*part),
        _ => None,
    });
    let is_part = |part: &&str| {
        let mut characters = part.chars();
        characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '='))
    };
    windows.filter(|part| !part.is_empty() && !is_mark(part)).filter(is_part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_and_seed_are_found_in_either_style_of_lines() {
        let text = "-----BEGIN NATS USER JWT-----\ne30.e30.x-_\n------END NATS USER JWT------\n\n\
                    ***** IMPORTANT *****\n\n-----BEGIN USER NKEY SEED-----\nSUABC\n\
                    ------END USER NKEY SEED------\n\n****\n";
        assert_eq!(parts(text), ["e30.e30.x-_", "SUABC"]);
        assert_eq!(parts(&text.replace('\n', "\r\n")), ["e30.e30.x-_", "SUABC"]);
        let commented = text.replace("\n\n*", "\n# keep this one secret\n---\n\n*");
        assert_eq!(parts(&commented), ["e30.e30.x-_", "SUABC"]);
        assert_eq!(parts("-----BEGIN\n-----END\n-----BEGIN\n\n-----END"), [""; 0]);
    }
}

//! Values as they are written in a test file.

/// `text` as a string of TOML.
pub fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

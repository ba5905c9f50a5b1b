use std::time::Duration;

use saphyr::{LoadableYamlNode, Scalar, Yaml};

use super::Settings;
use crate::error::{Error, Result};

/// The largest configuration file that is read, in bytes.
const MAX_TEXT: usize = 1024 * 1024;
/// The deepest nesting that is read: the parser's values are dropped by recursion.
const MAX_DEPTH: usize = 100;
const MAX_RETRIES: i64 = 100;
const MAX_TIMEOUT: i64 = 3600;

const RETRY: &str = "webhook_job_max_retry";
const TIMEOUT: &str = "webhook_job_http_client_timeout";

/// Harbor's own configuration. What is missing keeps its value; what is wrong is an error that names the key.
///
/// Harbor silently takes its default for a value that it cannot read, and no time limit for a timeout of zero; here both are
/// errors.
impl Settings {
    /// Reads the `notification:` block of a `harbor.yml`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if the text is not YAML, or a value is out of its range.
    pub fn read_harbor_yml(self, text: &str) -> Result<Self> {
        self.read_block(text, &["notification"])
    }

    /// Reads the `jobservice.notification` block of the Helm chart's values.
    ///
    /// # Errors
    ///
    /// As for [`Settings::read_harbor_yml`].
    pub fn read_helm_values(self, text: &str) -> Result<Self> {
        self.read_block(text, &["jobservice", "notification"])
    }

    /// Reads the environment variables of Harbor's job service, through `lookup`.
    ///
    /// ```
    /// use harbor_webhook::Settings;
    ///
    /// let settings = Settings::harbor().read_env(|name| std::env::var(name).ok())?;
    /// # Ok::<(), harbor_webhook::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Settings::read_harbor_yml`].
    pub fn read_env(mut self, lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        const RETRY: &str = "JOBSERVICE_WEBHOOK_JOB_MAX_RETRY";
        const TIMEOUT: &str = "JOBSERVICE_WEBHOOK_JOB_HTTP_CLIENT_TIMEOUT";
        if let Some(value) = lookup(RETRY) {
            self.set_retries(number(RETRY, &value, 0, MAX_RETRIES)?);
        }
        if let Some(value) = lookup(TIMEOUT) {
            self.set_timeout(number(TIMEOUT, &value, 1, MAX_TIMEOUT)?);
        }
        Ok(self)
    }

    fn read_block(mut self, text: &str, path: &[&str]) -> Result<Self> {
        let documents = parse(text)?;
        let mut at = documents.first();
        for (depth, key) in path.iter().enumerate() {
            let Some(block) = at.and_then(|block| block.as_mapping_get(key)) else { return Ok(self) };
            if !block.is_mapping() && !block.is_null() {
                return Err(Error::invalid(path[..=depth].join("."), "must be a block of keys"));
            }
            at = Some(block);
        }
        let Some(block) = at else { return Ok(self) };
        let key = |name: &str| format!("{}.{name}", path.join("."));
        if let Some(value) = block.as_mapping_get(RETRY) {
            self.set_retries(scalar(&key(RETRY), value, 0, MAX_RETRIES)?);
        }
        if let Some(value) = block.as_mapping_get(TIMEOUT) {
            self.set_timeout(scalar(&key(TIMEOUT), value, 1, MAX_TIMEOUT)?);
        }
        Ok(self)
    }

    fn set_retries(&mut self, retries: i64) {
        self.retry.max_retries = u32::try_from(retries).unwrap_or_default();
    }

    fn set_timeout(&mut self, seconds: i64) {
        self.timeout = Duration::from_secs(seconds.unsigned_abs());
    }
}

fn parse(text: &str) -> Result<Vec<Yaml<'_>>> {
    if text.len() > MAX_TEXT {
        return Err(Error::invalid("configuration", format_args!("is larger than {MAX_TEXT} bytes")));
    }
    if is_deep(text) {
        return Err(Error::invalid("configuration", format_args!("is nested deeper than {MAX_DEPTH} levels")));
    }
    Yaml::load_from_str(text).map_err(|e| Error::invalid("configuration", format_args!("is not YAML: {e}")))
}

/// Whether the text may nest too deep: each level costs an open bracket, or a character in front of a line's content.
fn is_deep(text: &str) -> bool {
    let mut open = 0usize;
    for b in text.bytes() {
        match b {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > MAX_DEPTH {
            return true;
        }
    }
    text.lines().any(|line| line.bytes().take_while(|b| b" \t-?:".contains(b)).count() > MAX_DEPTH)
}

fn scalar(key: &str, value: &Yaml<'_>, min: i64, max: i64) -> Result<i64> {
    match value {
        Yaml::Value(Scalar::Integer(n)) => in_range(key, *n, min, max),
        Yaml::Value(Scalar::String(text)) => number(key, text, min, max),
        _ => Err(wrong(key, min, max)),
    }
}

fn number(key: &str, text: &str, min: i64, max: i64) -> Result<i64> {
    let n = text.trim().parse().map_err(|_| wrong(key, min, max))?;
    in_range(key, n, min, max)
}

fn in_range(key: &str, n: i64, min: i64, max: i64) -> Result<i64> {
    if (min..=max).contains(&n) { Ok(n) } else { Err(wrong(key, min, max)) }
}

fn wrong(key: &str, min: i64, max: i64) -> Error {
    Error::invalid(key, format_args!("must be a whole number from {min} to {max}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_read() {
        let yml =
            "hostname: hub\nnotification:\n  webhook_job_max_retry: 5\n  webhook_job_http_client_timeout: 7 #seconds\n";
        let helm =
            "jobservice:\n  notification:\n    webhook_job_max_retry: \"5\"\n    webhook_job_http_client_timeout: 7\n";
        let env = |name: &str| match name {
            "JOBSERVICE_WEBHOOK_JOB_MAX_RETRY" => Some("5".to_owned()),
            "JOBSERVICE_WEBHOOK_JOB_HTTP_CLIENT_TIMEOUT" => Some("7".to_owned()),
            _ => None,
        };
        let read = [
            Settings::harbor().read_harbor_yml(yml).unwrap(),
            Settings::harbor().read_helm_values(helm).unwrap(),
            Settings::harbor().read_env(env).unwrap(),
        ];
        for settings in read {
            assert_eq!((settings.retry.max_retries, settings.timeout), (5, Duration::from_secs(7)));
        }
    }

    #[test]
    fn what_is_missing_keeps_its_value() {
        for text in ["", "a: 1", "notification:", "notification: {}", "notification:\n  other: x"] {
            assert_eq!(Settings::harbor().read_harbor_yml(text).unwrap(), Settings::harbor(), "{text}");
        }
        assert_eq!(Settings::harbor().read_env(|_| None).unwrap(), Settings::harbor());
    }

    #[test]
    fn wrong_values_name_their_key() {
        for value in ["-1", "1.5", "abc", "null", "[]", "101", "99999999999999999999"] {
            let text = format!("notification:\n  webhook_job_max_retry: {value}\n");
            let error = Settings::harbor().read_harbor_yml(&text).unwrap_err().to_string();
            assert_eq!(error, "notification.webhook_job_max_retry: must be a whole number from 0 to 100", "{value}");
        }
        let zero = "jobservice:\n  notification:\n    webhook_job_http_client_timeout: 0\n";
        let error = Settings::harbor().read_helm_values(zero).unwrap_err().to_string();
        assert_eq!(
            error,
            "jobservice.notification.webhook_job_http_client_timeout: must be a whole number from 1 to 3600"
        );
    }

    #[test]
    fn hostile_texts_are_errors() {
        for text in
            ["[".repeat(100_000), "- ".repeat(100_000), "? ".repeat(100_000), "a: [".repeat(1000), "\t: {".into()]
        {
            assert!(Settings::harbor().read_harbor_yml(&text).is_err());
        }
    }
}

//! The browser client: its files, which are compiled in, its configuration, and what a browser is told about both.
//!
//! All `css`, `html`, `js` and `svg` files of `functions/web` itself are served under their names, `index.html` also as `/`. Pages refer to each other
//! relatively: in the local cloud they lie below a path.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::config::{APP_NAME, ConfigError, Environment, STAGE_NAME, WEB_SOCKET_URL, origin};

/// Names and contents.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/web_files.rs"));

/// What is served, by path.
#[derive(Clone, Debug)]
pub struct Pages {
    pages: BTreeMap<String, Page>,
    /// The header `Content-Security-Policy` of all answers.
    pub policy: String,
}

/// Something that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its media type.
    pub content_type: &'static str,
    /// Changes with the content, and in quotes, as the header `ETag` has it.
    pub tag: String,
    /// The content.
    pub body: Cow<'static, str>,
}

impl Pages {
    /// Puts together what the environment asks for.
    ///
    /// # Errors
    ///
    /// When a variable is missing, or the URL is none.
    pub fn new(environment: &Environment) -> Result<Self, ConfigError> {
        let url = environment.require(WEB_SOCKET_URL)?;
        let config = json!({
            "webSocketUrl": url,
            "app": environment.require(APP_NAME)?,
            "stage": environment.require(STAGE_NAME)?,
        });
        let files = FILES
            .iter()
            .map(|(name, content)| (*name, content_type(name), Cow::Borrowed(*content)));
        let config = ("config.json", "application/json", Cow::Owned(config.to_string()));
        let mut pages: BTreeMap<_, _> = files
            .chain([config])
            .map(|(name, content_type, body)| {
                let tag = tag(&body);
                (
                    format!("/{name}"),
                    Page {
                        content_type,
                        tag,
                        body,
                    },
                )
            })
            .collect();
        if let Some(index) = pages.get("/index.html").cloned() {
            pages.insert("/".to_owned(), index);
        }
        Ok(Self {
            pages,
            policy: policy(url)?,
        })
    }

    /// Returns what is served under a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Page> {
        self.pages.get(path)
    }
}

/// Only what we serve is run, shown and asked, and the chat's own API; the page stands in no other page.
fn policy(web_socket_url: &str) -> Result<String, ConfigError> {
    let origin = origin(web_socket_url)
        .filter(|origin| origin.starts_with("wss://") || origin.starts_with("ws://"))
        .ok_or_else(|| ConfigError::Invalid {
            name: WEB_SOCKET_URL,
            reason: "not a URL that begins with wss:// or ws://".to_owned(),
        })?;
    Ok(format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' {origin}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ))
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some(_) | None => "text/plain; charset=utf-8",
    }
}

fn tag(content: &str) -> String {
    let digest = Sha256::digest(content.as_bytes());
    let digits: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}\"")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    fn pages(url: &str) -> Result<Pages, ConfigError> {
        Pages::new(&Environment::of([
            (WEB_SOCKET_URL, url),
            (APP_NAME, "chat"),
            (STAGE_NAME, "dev"),
        ]))
    }

    #[test]
    fn the_files_of_the_client_are_served_and_its_tests_are_not() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/web");
        let files = fs::read_dir(folder).unwrap().map(Result::unwrap);
        let mut expected: BTreeSet<String> = files
            .filter(|file| file.file_type().unwrap().is_file())
            .map(|file| format!("/{}", file.file_name().into_string().unwrap()))
            .filter(|path| [".css", ".html", ".js", ".svg"].iter().any(|end| path.ends_with(end)))
            .collect();
        expected.extend(["/".to_owned(), "/config.json".to_owned()]);
        let pages = pages("wss://a.example/dev").unwrap();
        assert!(pages.pages.keys().eq(&expected), "{:?}", pages.pages.keys());
        assert_eq!(pages.get("/"), pages.get("/index.html"));
        for (path, page) in &pages.pages {
            assert_ne!(
                page.content_type, "text/plain; charset=utf-8",
                "{path} has no known type"
            );
        }
    }

    #[test]
    fn the_configuration_says_where_the_chat_is() {
        let pages = pages("wss://a.example/dev").unwrap();
        let config: serde_json::Value = serde_json::from_str(&pages.get("/config.json").unwrap().body).unwrap();
        assert_eq!(
            config,
            json!({"webSocketUrl": "wss://a.example/dev", "app": "chat", "stage": "dev"})
        );
        assert!(
            pages.policy.contains("connect-src 'self' wss://a.example;"),
            "{}",
            pages.policy
        );
    }

    #[test]
    fn pages_refer_to_each_other_relatively() {
        for (name, content) in FILES {
            for absolute in ["=\"/", "='/", "(\"/", "('/", "from \"/", "import \"/"] {
                assert!(!content.contains(absolute), "{name} has an absolute path: {absolute}");
            }
        }
    }

    #[test]
    fn a_url_that_is_none_is_refused_at_the_start() {
        for url in [
            "",
            "a.example",
            "https://a.example/dev",
            "wss://a; script-src *",
            "wss://",
        ] {
            assert!(pages(url).is_err(), "{url}");
        }
    }
}

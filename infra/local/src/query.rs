//! The awsQuery protocol of IAM and STS: a form comes in, XML goes out.
//!
//! See <https://smithy.io/2.0/aws/protocols/aws-query-protocol.html>.

use std::fmt::Write as _;

use bytes::Bytes;

use crate::wire::{ApiError, Request, Response, escape_xml, request_id, respond};

/// The decoded form of one call, in the order sent.
#[derive(Clone, Debug)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads the form from body and query string; the command line sends the former, presigned requests the latter.
    pub(crate) fn read(request: &Request) -> Self {
        let body = String::from_utf8_lossy(&request.body);
        let query = request.uri.query().unwrap_or_default();
        let pairs = body.split('&').chain(query.split('&')).filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode_form(name), decode_form(value))
                })
                .collect(),
        )
    }

    /// Returns the value of `name`, where it was sent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns the value of `name`.
    ///
    /// # Errors
    /// `ValidationError` when it was not sent.
    pub(crate) fn require(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).ok_or_else(|| {
            let member = lower_first(name);
            invalid(format!(
                "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
            ))
        })
    }

    /// Returns the entries of a list of pairs, for example `Tags.member.1.Key` and `Tags.member.1.Value`.
    pub(crate) fn pairs(&self, list: &str) -> Vec<(String, String)> {
        (1..)
            .map_while(|index| {
                let key = self.get(&format!("{list}.member.{index}.Key"))?;
                let value = self.get(&format!("{list}.member.{index}.Value")).unwrap_or_default();
                Some((key.to_owned(), value.to_owned()))
            })
            .collect()
    }

    /// Returns the entries of a plain list, for example `TagKeys.member.1`.
    pub(crate) fn list(&self, list: &str) -> Vec<String> {
        (1..)
            .map_while(|index| self.get(&format!("{list}.member.{index}")).map(str::to_owned))
            .collect()
    }
}

#[cfg(test)]
impl<'a> FromIterator<(&'a str, &'a str)> for Form {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(pairs: T) -> Self {
        let pairs = pairs.into_iter();
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

/// A `ValidationError`, as awsQuery services name it.
pub(crate) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(400, "ValidationError", message)
}

/// Refuses an action that this cloud does not have.
pub(crate) fn unknown_action(service: &str, action: &str) -> ApiError {
    ApiError::new(
        400,
        "InvalidAction",
        format!("the local cloud does not implement the action {action} of {service}"),
    )
}

/// Wraps `result` (the XML inside `{action}Result`) into the answer of `action`.
///
/// An empty result keeps its element: clients look for it wherever the model has an output, as for `UpdateRole`, and
/// overlook it elsewhere.
pub(crate) fn answer(namespace: &str, action: &str, result: &str) -> Response {
    let document = format!(
        "<{action}Response xmlns=\"{namespace}\"><{action}Result>{result}</{action}Result><ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></{action}Response>",
        request_id()
    );
    respond(200, "text/xml", Bytes::from(document), &[])
}

/// Returns `<name>text</name>` with the text escaped.
pub(crate) fn element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", escape_xml(text))
}

/// Percent-encodes as RFC 3986 says: all but letters, digits, `-`, `.`, `_` and `~`.
pub(crate) fn percent_encode(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut encoded, byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                encoded.push(char::from(byte));
            } else {
                // Writing to a string cannot fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
            encoded
        })
}

/// Decodes `%XX`; what is no valid escape stays as it is.
pub(crate) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let escape = (bytes[index] == b'%')
            .then(|| bytes.get(index + 1..index + 3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escape {
            Some(byte) => {
                decoded.push(byte);
                index += 3;
            }
            None => {
                decoded.push(bytes[index]);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn decode_form(text: &str) -> String {
    percent_decode(&text.replace('+', " "))
}

/// Returns `RoleName` as `roleName`, as validation messages name members.
pub(crate) fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_round_trips() {
        let text = "{\"a\": \"b/c+d ~é%\"}";
        assert_eq!(percent_encode(text), "%7B%22a%22%3A%20%22b%2Fc%2Bd%20~%C3%A9%25%22%7D");
        assert_eq!(percent_decode(&percent_encode(text)), text);
        assert_eq!(percent_decode("100%"), "100%");
        assert_eq!(percent_decode("%zz%2"), "%zz%2");
    }
}

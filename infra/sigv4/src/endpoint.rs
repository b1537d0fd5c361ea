//! Where a service listens, and how text becomes part of a URL or a form.

use http::Uri;

use crate::error::ClientError;

/// A service's address in one Region, and the Region in its signature.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) url: String,
    pub(crate) signing_region: String,
}

/// Returns the address of `service` in `region`, with what some operations put before its name. IAM is one service per partition, signed for a fixed Region:
/// <https://docs.aws.amazon.com/general/latest/gr/iam-service.html>.
pub(crate) fn site(prefix: &str, service: &str, region: &str) -> Site {
    let (suffix, iam_host, iam_region) = if region.starts_with("cn-") {
        ("amazonaws.com.cn", "iam.cn-north-1", "cn-north-1")
    } else if region.starts_with("us-gov-") {
        ("amazonaws.com", "iam.us-gov", "us-gov-west-1")
    } else {
        ("amazonaws.com", "iam", "us-east-1")
    };
    if service == "iam" {
        Site {
            url: format!("https://{iam_host}.{suffix}"),
            signing_region: iam_region.to_owned(),
        }
    } else {
        Site {
            url: format!("https://{prefix}{service}.{region}.{suffix}"),
            signing_region: region.to_owned(),
        }
    }
}

/// Returns `endpoint_url` without a final slash, if it is an absolute `http` or `https` URL without a query.
pub(crate) fn checked(endpoint_url: String) -> Result<String, ClientError> {
    let valid = endpoint_url.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some() && uri.query().is_none()
    });
    if valid {
        Ok(endpoint_url.trim_end_matches('/').to_owned())
    } else {
        Err(ClientError::EndpointUrl { endpoint_url })
    }
}

/// Returns the complete URL of one request.
pub(crate) fn url(base: &str, path: &str, query: &[(&str, &str)]) -> String {
    if query.is_empty() {
        format!("{base}{path}")
    } else {
        format!("{base}{path}?{}", form_encoded(query))
    }
}

/// Returns `name=value&…`, percent-encoded as RFC 3986 and Signature Version 4 want it: a space is `%20`, never `+`.
pub(crate) fn form_encoded<'a>(pairs: impl IntoIterator<Item = &'a (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        percent_encode(name, &mut text);
        text.push('=');
        percent_encode(value, &mut text);
    }
    text
}

/// Appends `value`, percent-encoded as RFC 3986 and Signature Version 4 want it: only letters, digits and `-._~` stay.
pub fn percent_encode(value: &str, into: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push('%');
            into.push(char::from(HEX[usize::from(byte >> 4)]));
            into.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_its_own_hosts() {
        for (service, region, url, signing_region) in [
            ("ssm", "eu-west-1", "https://ssm.eu-west-1.amazonaws.com", "eu-west-1"),
            (
                "logs",
                "cn-north-1",
                "https://logs.cn-north-1.amazonaws.com.cn",
                "cn-north-1",
            ),
            ("iam", "eu-west-1", "https://iam.amazonaws.com", "us-east-1"),
            (
                "iam",
                "cn-northwest-1",
                "https://iam.cn-north-1.amazonaws.com.cn",
                "cn-north-1",
            ),
            (
                "iam",
                "us-gov-east-1",
                "https://iam.us-gov.amazonaws.com",
                "us-gov-west-1",
            ),
        ] {
            let expected = Site {
                url: url.to_owned(),
                signing_region: signing_region.to_owned(),
            };
            assert_eq!(site("", service, region), expected, "{service} in {region}");
        }
        assert_eq!(
            site("stream-", "logs", "eu-west-1").url,
            "https://stream-logs.eu-west-1.amazonaws.com"
        );
    }

    #[test]
    fn forms_are_percent_encoded() {
        assert_eq!(
            form_encoded(&[("a b", "{\"x\":1}"), ("c", "ü+~")]),
            "a%20b=%7B%22x%22%3A1%7D&c=%C3%BC%2B~"
        );
    }

    #[test]
    fn endpoint_urls_are_absolute() {
        assert_eq!(
            checked("http://127.0.0.1:4566/".to_owned()).ok().as_deref(),
            Some("http://127.0.0.1:4566")
        );
        for wrong in ["127.0.0.1:4566", "ftp://host", "/path", "", "http://host/?a=b"] {
            assert!(checked(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}

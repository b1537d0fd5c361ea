//! Whom TLS trusts.

use std::sync::Arc;
use std::{env, io};

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{ClientConfig, RootCertStore};

/// Root certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roots {
    /// Those of this machine, among them perhaps one of a company that looks into its people's traffic.
    Machine,
    /// Mozilla's, as they were when the program was compiled. Nothing is read: the file of a Linux machine has some 150
    /// certificates, and to decode them takes a quarter of a function's cold start.
    BuiltIn,
}

impl Roots {
    /// Returns what a Lambda function trusts: the built-in ones, unless `SSL_CERT_FILE` or `SSL_CERT_DIR` names others.
    /// Both variables are OpenSSL's, and the machine's roots follow them.
    #[must_use]
    pub fn of_function() -> Self {
        let is_told = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
            .iter()
            .any(|name| env::var_os(name).is_some());
        if is_told { Self::Machine } else { Self::BuiltIn }
    }

    /// Returns a connector that speaks HTTP/2 where the server offers it, and makes its TCP connections by `tcp`. It takes
    /// `http` addresses, too.
    ///
    /// # Errors
    /// When the machine's are wanted, and it has none.
    pub fn connector(self, mut tcp: HttpConnector) -> io::Result<HttpsConnector<HttpConnector>> {
        tcp.enforce_http(false);
        let builder = HttpsConnectorBuilder::new();
        let builder = match self {
            Self::Machine => builder.with_native_roots()?,
            Self::BuiltIn => builder.with_tls_config(built_in()?),
        };
        Ok(builder.https_or_http().enable_all_versions().wrap_connector(tcp))
    }
}

fn built_in() -> io::Result<ClientConfig> {
    let roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn amazon_is_trusted_without_reading_anything() {
        let subjects = webpki_roots::TLS_SERVER_ROOTS
            .iter()
            .map(|anchor| anchor.subject.as_ref());
        // <https://www.amazontrust.com/repository/>: all of AWS's endpoints lead to one of these.
        for name in [
            "Amazon Root CA 1",
            "Amazon Root CA 4",
            "Starfield Services Root Certificate Authority - G2",
        ] {
            let is_there = |subject: &[u8]| subject.windows(name.len()).any(|part| part == name.as_bytes());
            assert!(subjects.clone().any(is_there), "{name}");
        }
        Roots::BuiltIn.connector(HttpConnector::new()).unwrap();
    }
}

//! The bucket that CloudFormation and Lambda read templates and packages from: one per account and Region.
//!
//! It is made when something is uploaded for the first time: private, encrypted, versioned, over TLS only. Keys are named
//! after what they hold, so that nothing is uploaded twice. What is current is kept, since a stack that rolls back needs
//! its earlier packages; earlier versions and what was begun and never finished leave by themselves.
//!
//! Calls are plain signed requests, path-style: `https://s3.REGION.amazonaws.com/BUCKET/KEY`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::future::try_join_all;
use http::Method;
use infra_engine::{Class, CloudError};
use infra_sigv4::{Answer, Call, CallError, Client, percent_encode};
use sha2::{Digest, Sha256};

use crate::Session;
use crate::error::refused;
use crate::repeat::repeated;

/// Written last: who finds it knows that the bucket has its settings. Another revision of them has another name.
const READY: &str = "stackwright/settings-1";

/// Days after which overwritten and deleted objects are gone for good.
const NONCURRENT_DAYS: u32 = 30;

/// Days after which an upload that was begun and never finished is dropped.
const UNFINISHED_DAYS: u32 = 7;

/// Something to be uploaded.
#[derive(Clone, Debug)]
pub struct Asset {
    /// Its name in the bucket; one that follows from the content.
    pub key: String,
    /// The content.
    pub content: Bytes,
}

/// The asset bucket of an account and Region. It may not exist yet.
#[derive(Clone, Debug)]
pub struct AssetBucket {
    session: Session,
    name: String,
}

impl AssetBucket {
    /// Returns the bucket of the account and Region of a session. Makes no call.
    #[must_use]
    pub fn new(session: Session) -> Self {
        let context = session.context();
        let name = format!("stackwright-assets-{}-{}", context.account, context.region);
        Self { session, name }
    }

    /// Returns its name, for example `stackwright-assets-123456789012-eu-central-1`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where CloudFormation reads an object (`TemplateURL`).
    #[must_use]
    pub fn url(&self, key: &str) -> String {
        let context = self.session.context();
        let suffix = match context.partition.as_str() {
            "aws-cn" => "amazonaws.com.cn",
            _ => "amazonaws.com",
        };
        format!("https://s3.{}.{suffix}/{}/{key}", context.region, self.name)
    }

    /// Returns those of the keys that are missing; all of them where there is no bucket.
    ///
    /// # Errors
    /// When the bucket may not be read, or is somebody else's.
    pub async fn missing<'a>(&self, keys: impl IntoIterator<Item = &'a str>) -> Result<Vec<&'a str>, CloudError> {
        let heads = keys.into_iter().map(async |key| Ok((key, self.exists(key).await?)));
        let found = try_join_all(heads).await?;
        Ok(found
            .into_iter()
            .filter_map(|(key, exists)| (!exists).then_some(key))
            .collect())
    }

    /// Uploads what is not there yet, and returns how much that was. Makes the bucket where there is none.
    ///
    /// # Errors
    /// When the bucket or an object cannot be made.
    pub async fn upload(&self, assets: &[Asset]) -> Result<usize, CloudError> {
        let keys = assets.iter().map(|asset| asset.key.as_str()).chain([READY]);
        let missing = self.missing(keys).await?;
        if missing.contains(&READY) {
            self.make().await?;
        }
        let new: Vec<_> = assets
            .iter()
            .filter(|asset| missing.contains(&asset.key.as_str()))
            .collect();
        try_join_all(new.iter().map(|asset| self.put(&asset.key, &asset.content))).await?;
        Ok(new.len())
    }

    /// Returns an object; `None` where there is none, or no bucket.
    ///
    /// # Errors
    /// When it may not be read.
    pub async fn read(&self, key: &str) -> Result<Option<Bytes>, CloudError> {
        match self.call("GetObject", Method::GET, key, Bytes::new()).await {
            Ok(answer) => Ok(answer.map(|answer| answer.body)),
            Err(error) if error.code == "NoSuchBucket" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes an object whose name does not follow from its content.
    ///
    /// # Errors
    /// When the bucket or the object cannot be made.
    pub async fn write(&self, asset: &Asset) -> Result<(), CloudError> {
        if !self.exists(READY).await? {
            self.make().await?;
        }
        self.put(&asset.key, &asset.content).await
    }

    async fn exists(&self, key: &str) -> Result<bool, CloudError> {
        let answer = self.call("HeadObject", Method::HEAD, key, Bytes::new()).await?;
        Ok(answer.is_some())
    }

    async fn put(&self, key: &str, content: &Bytes) -> Result<(), CloudError> {
        self.call("PutObject", Method::PUT, key, content.clone()).await?;
        Ok(())
    }

    /// Makes the bucket as it shall be; safe to repeat, and beside others that do the same.
    async fn make(&self) -> Result<(), CloudError> {
        let region = &self.session.context().region;
        // The one Region that must not be named (Amazon S3 API Reference, `CreateBucket`).
        let place = match region.as_str() {
            "us-east-1" => String::new(),
            region => format!(
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>{region}\
                 </LocationConstraint></CreateBucketConfiguration>"
            ),
        };
        let creation = S3Request {
            headers: Vec::new(),
            ..self.request("CreateBucket", Method::PUT, "", Bytes::from(place))
        };
        match repeated(|| self.session.s3(creation.clone())).await {
            Ok(_) => {}
            Err(error) if error.code == "BucketAlreadyOwnedByYou" => {}
            Err(error) if error.code == "BucketAlreadyExists" => {
                let message = format!("the bucket {} belongs to another account", self.name);
                return Err(refused("s3:CreateBucket", Class::Permanent, message));
            }
            Err(error) => return Err(error),
        }
        // One after the other: S3 answers `OperationAborted` to simultaneous changes of one bucket.
        for (operation, subresource, body) in self.settings() {
            let checksum = BASE64_STANDARD.encode(Sha256::digest(&body));
            let mut request = self.request(operation, Method::PUT, "", Bytes::from(body));
            request.query = subresource;
            // S3 wants a checksum of most of these.
            request.headers.push(("x-amz-checksum-sha256", checksum));
            repeated(|| self.session.s3(request.clone())).await?;
        }
        self.put(READY, &Bytes::new()).await
    }

    /// Returns all settings: operation, subresource and content.
    fn settings(&self) -> [(&'static str, &'static str, String); 5] {
        let arn = format!("arn:{}:s3:::{}", self.session.context().partition, self.name);
        let deny = |sid: &str, condition: &str| {
            format!(
                r#"{{"Sid":"{sid}","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["{arn}","{arn}/*"],"Condition":{condition}}}"#
            )
        };
        let policy = [
            deny("TlsOnly", r#"{"Bool":{"aws:SecureTransport":"false"}}"#),
            deny("ModernTlsOnly", r#"{"NumericLessThan":{"s3:TlsVersion":"1.2"}}"#),
        ];
        [
            (
                "PutPublicAccessBlock",
                "publicAccessBlock",
                xml(
                    "PublicAccessBlockConfiguration",
                    "<BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls>\
                     <BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>true</RestrictPublicBuckets>",
                ),
            ),
            (
                "PutBucketEncryption",
                "encryption",
                xml(
                    "ServerSideEncryptionConfiguration",
                    "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>\
                     </ApplyServerSideEncryptionByDefault></Rule>",
                ),
            ),
            (
                "PutBucketVersioning",
                "versioning",
                xml("VersioningConfiguration", "<Status>Enabled</Status>"),
            ),
            (
                "PutBucketLifecycleConfiguration",
                "lifecycle",
                xml(
                    "LifecycleConfiguration",
                    &format!(
                        "<Rule><ID>leftovers</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status>\
                         <NoncurrentVersionExpiration><NoncurrentDays>{NONCURRENT_DAYS}</NoncurrentDays>\
                         </NoncurrentVersionExpiration><AbortIncompleteMultipartUpload>\
                         <DaysAfterInitiation>{UNFINISHED_DAYS}</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>"
                    ),
                ),
            ),
            (
                "PutBucketPolicy",
                "policy",
                format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, policy.join(",")),
            ),
        ]
    }

    /// Asks or changes something of the bucket, which must be our account's: others may have taken its name.
    async fn call(
        &self,
        operation: &'static str,
        method: Method,
        key: &str,
        body: Bytes,
    ) -> Result<Option<Answer>, CloudError> {
        let request = self.request(operation, method, key, body);
        repeated(|| self.session.s3(request.clone())).await
    }

    fn request(&self, operation: &'static str, method: Method, key: &str, body: Bytes) -> S3Request {
        let mut path = format!("/{}", self.name);
        for segment in key.split('/').filter(|segment| !segment.is_empty()) {
            path.push('/');
            percent_encode(segment, &mut path);
        }
        let owner = ("x-amz-expected-bucket-owner", self.session.context().account.clone());
        S3Request {
            operation,
            method,
            path,
            query: "",
            headers: vec![owner],
            body,
        }
    }
}

fn xml(name: &str, content: &str) -> String {
    format!("<{name} xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{content}</{name}>")
}

/// A request to S3.
#[derive(Clone)]
pub(crate) struct S3Request {
    pub(crate) operation: &'static str,
    method: Method,
    /// Absolute and percent-encoded.
    path: String,
    /// The subresource, or nothing.
    query: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl S3Request {
    /// Sends it.
    pub(crate) async fn send(self, client: &Client) -> Result<Answer, CallError> {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let subresource = [(self.query, "")];
        let call = Call {
            service: "s3",
            host_prefix: "",
            operation: self.operation,
            method: self.method,
            path: &self.path,
            query: if self.query.is_empty() { &[] } else { &subresource },
            headers: &headers,
            body: self.body,
        };
        client.send(call).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use super::*;
    use crate::stub;

    fn asset(key: &str) -> Asset {
        Asset {
            key: key.to_owned(),
            content: Bytes::from_static(b"zip"),
        }
    }

    #[tokio::test]
    async fn the_bucket_is_made_once_with_all_its_settings_and_only_what_is_new_is_uploaded() {
        let stored = Mutex::new(BTreeSet::new());
        let (session, log) = stub::session(move |asked| {
            let mut stored = stored.lock().unwrap();
            match asked.method.as_str() {
                "HEAD" if !stored.contains(&asked.path) => (404, String::new()),
                "PUT" => {
                    stored.insert(asked.path.clone());
                    (200, String::new())
                }
                _ => (200, String::new()),
            }
        })
        .await
        .unwrap();
        let bucket = AssetBucket::new(session);
        assert_eq!(bucket.name(), "stackwright-assets-123456789012-eu-west-1");
        assert_eq!(
            bucket
                .upload(&[asset("chat/a.zip"), asset("chat/b.zip")])
                .await
                .unwrap(),
            2
        );
        let base = "/stackwright-assets-123456789012-eu-west-1";
        let puts: Vec<_> = {
            let log = log.lock().unwrap();
            let puts = log.iter().filter(|asked| asked.method == "PUT");
            puts.map(|asked| asked.path.strip_prefix(base).unwrap().to_owned())
                .collect()
        };
        let settings = [
            "?publicAccessBlock=",
            "?encryption=",
            "?versioning=",
            "?lifecycle=",
            "?policy=",
        ];
        assert_eq!(puts[0], "", "the bucket first");
        assert_eq!(puts[1..6], settings);
        assert_eq!(puts[6], format!("/{READY}"), "the mark after its settings");
        assert_eq!(puts[7..].iter().collect::<BTreeSet<_>>().len(), 2);
        {
            let log = log.lock().unwrap();
            let of = |part: &str| {
                log.iter()
                    .find(|asked| asked.method == "PUT" && asked.path.ends_with(part))
                    .unwrap()
                    .body
                    .clone()
            };
            assert!(of(base).contains("<LocationConstraint>eu-west-1</LocationConstraint>"));
            assert!(of("policy=").contains(r#""aws:SecureTransport":"false""#));
            assert!(of("versioning=").contains("Enabled"));
            assert!(of("lifecycle=").contains("NoncurrentVersionExpiration"));
        }
        assert_eq!(
            bucket
                .upload(&[asset("chat/a.zip"), asset("chat/c.zip")])
                .await
                .unwrap(),
            1
        );
        let last = log.lock().unwrap().last().cloned().unwrap();
        assert_eq!((last.method.as_str(), last.path), ("PUT", format!("{base}/chat/c.zip")));
    }

    #[tokio::test]
    async fn a_bucket_whose_name_somebody_else_has_is_not_used() {
        let (session, _) = stub::session(|asked| match asked.method.as_str() {
            "HEAD" => (404, String::new()),
            _ => (
                409,
                "<Error><Code>BucketAlreadyExists</Code><Message>taken</Message></Error>".to_owned(),
            ),
        })
        .await
        .unwrap();
        let error = AssetBucket::new(session)
            .upload(&[asset("chat/a.zip")])
            .await
            .unwrap_err();
        assert!(error.message.contains("belongs to another account"), "{error}");
    }
}

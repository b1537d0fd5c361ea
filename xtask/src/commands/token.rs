//! `cargo xtask token`: mints a token with the key of a stage, or rotates that key.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use functions_token::{Claims, KeyError, Keys};
use infra_aws::{SecretText, Session};

use crate::browser;
use crate::cli::{Token, TokenClaims, TokenCommand};
use crate::commands::{App, DEFAULT_STAGE, outputs};
use crate::failure::{Exit, Failure};
use crate::outputs::Outputs;
use crate::target::Target;
use crate::ui;

/// Runs it.
///
/// # Errors
/// When the stage is not deployed, or its key cannot be read.
pub(crate) async fn run(app: &App, options: &Token) -> Result<Exit, Failure> {
    match (options.command, &options.claims) {
        (Some(TokenCommand::Rotate), _) => rotate(app).await,
        (None, Some(claims)) if !claims.sub.is_empty() => print(app, claims, options.link).await,
        (None, _) => Err(Failure::usage("--sub must not be empty: it says who the user is")),
    }
}

async fn print(app: &App, claims: &TokenClaims, as_link: bool) -> Result<Exit, Failure> {
    let target = Target::find(&app.workspace, &app.global, DEFAULT_STAGE)?;
    let (token, page) = app
        .interrupt
        .or(Box::pin(async {
            let (session, outputs) = outputs::open(&target).await?;
            let token = of_stage(&target, &session, &outputs, claims).await?;
            Ok::<_, Failure>((token, outputs.web_url))
        }))
        .await?;
    let link = page.map(|page| browser::link(&page, &token));
    match (app.wants_json(), as_link, link) {
        (true, _, Some(link)) => ui::json(&serde_json::json!({ "token": token, "link": link }))?,
        (true, _, None) => ui::json(&serde_json::json!({ "token": token }))?,
        (false, false, _) => ui::data(token)?,
        (false, true, Some(link)) => ui::data(link)?,
        (false, true, None) => {
            return Err(Failure::new(format!("{} has no output `webUrl`", target.graph.stack()))
                .help("deploy the page: cargo xtask deploy"));
        }
    }
    Ok(Exit::Ok)
}

/// Random bytes of a new key, as many as a first deployment makes.
const KEY_BYTES: usize = 48;

async fn rotate(app: &App) -> Result<Exit, Failure> {
    let target = Target::find(&app.workspace, &app.global, DEFAULT_STAGE)?;
    let kid = app.interrupt.or(Box::pin(replace_key(&target))).await?;
    if app.wants_json() {
        ui::json(&serde_json::json!({ "kid": kid }))?;
    } else {
        ui::say(format!(
            "The key {kid} signs tokens of {} from now on; those of the key before count until the next rotation.",
            target.graph.stack()
        ));
    }
    Ok(Exit::Ok)
}

/// Returns the new key's name.
async fn replace_key(target: &Target) -> Result<String, Failure> {
    let (session, outputs) = outputs::open(target).await?;
    let (parameter, text) = key_of(target, &session, &outputs).await?;
    let unmade = |error| Failure::cloud("no new key could be made", error, &target.scope());
    let new = SecretText::random(KEY_BYTES).map_err(unmade)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    // The name tells when the key was made.
    let kid = format!("k{}", now.as_millis());
    let both = functions_token::rotate(text.expose(), &kid, new.expose()).map_err(|error| no_key(parameter, error))?;
    infra_aws::replace_parameter(&session, parameter, &SecretText::new(both))
        .await
        .map_err(|error| {
            Failure::cloud(
                format!("the new key cannot be written to {parameter}"),
                error,
                &target.scope(),
            )
        })?;
    Ok(kid)
}

/// Reads the key of a stage and mints a token.
///
/// # Errors
/// When the stage has no key, or it cannot be read.
pub(crate) async fn of_stage(
    target: &Target,
    session: &Session,
    outputs: &Outputs,
    claims: &TokenClaims,
) -> Result<String, Failure> {
    Minter::of_stage(target, session, outputs).await?.mint(claims)
}

/// Mints tokens of one stage.
pub(crate) struct Minter {
    key: SecretText,
    parameter: String,
    issuer: String,
}

impl Minter {
    /// Reads the key of a stage.
    ///
    /// # Errors
    /// When the stage has no key, or it cannot be read.
    pub(crate) async fn of_stage(target: &Target, session: &Session, outputs: &Outputs) -> Result<Self, Failure> {
        let (parameter, key) = key_of(target, session, outputs).await?;
        let stack = target.graph.stack();
        Ok(Self {
            key,
            parameter: parameter.to_owned(),
            issuer: format!("{}-{}", stack.app, stack.stage),
        })
    }

    /// Mints a token.
    ///
    /// # Errors
    /// When the key is damaged.
    pub(crate) fn mint(&self, claims: &TokenClaims) -> Result<String, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        sign(self.key.expose(), &self.issuer, claims, now.as_secs()).map_err(|error| no_key(&self.parameter, error))
    }
}

/// Returns the parameter's name and its value.
async fn key_of<'a>(
    target: &Target,
    session: &Session,
    outputs: &'a Outputs,
) -> Result<(&'a str, SecretText), Failure> {
    let parameter = outputs.token_key.as_deref().ok_or_else(|| {
        Failure::new(format!("{} has no output `tokenKey`", target.graph.stack()))
            .help("the last deployment did not finish; run it again: cargo xtask deploy")
    })?;
    let text = infra_aws::parameter(session, parameter)
        .await
        .map_err(|error| Failure::cloud(format!("the key in {parameter} cannot be read"), error, &target.scope()))?;
    Ok((parameter, text))
}

fn no_key(parameter: &str, error: KeyError) -> Failure {
    Failure::new(format!("the value of {parameter} is no key"))
        .because(error)
        .help("it must be 32 random bytes or more as base64url; delete the parameter and deploy again for a new one")
}

/// Mints a token with the key in `key_text`. Issuer and audience are the same: the stage both mints and accepts.
fn sign(key_text: &str, issuer: &str, options: &TokenClaims, now: u64) -> Result<String, KeyError> {
    let keys = Keys::parse(key_text)?;
    let claims = Claims {
        sub: options.sub.clone(),
        name: options.name.clone(),
        roles: options.roles.clone(),
        iss: issuer.to_owned(),
        aud: issuer.to_owned(),
        iat: Some(now),
        exp: now.saturating_add_signed(options.expires_in),
        nbf: None,
    };
    Ok(keys.mint(&claims))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use functions_token::{Expected, verify};

    use super::*;

    fn options() -> TokenClaims {
        TokenClaims {
            sub: "ada".to_owned(),
            name: Some("Ada Lovelace".to_owned()),
            roles: vec!["moderator".to_owned()],
            expires_in: 3_600,
        }
    }

    #[test]
    fn the_authorizer_accepts_what_is_minted_here() {
        let key = "A".repeat(64);
        let token = sign(&key, "chat-dev", &options(), 1_000).unwrap();
        let expected = Expected {
            issuer: "chat-dev",
            audience: "chat-dev",
        };
        let claims = verify(&Keys::parse(&key).unwrap(), &token, expected, 1_000).unwrap();
        assert_eq!(claims.sub, "ada");
        assert_eq!(claims.roles, ["moderator"]);
        assert_eq!(claims.exp, 4_600);
    }

    #[test]
    fn a_damaged_key_is_refused_without_showing_it() {
        let error = sign("secret!", "chat-dev", &options(), 1_000).unwrap_err();
        assert!(!error.to_string().contains("secret!"), "{error}");
    }
}

//! Temporary credentials: what a function process gets instead of the developer's own keys.

use crate::wire::ApiError;

use super::Iam;

/// Keys as `AssumeRole` hands them out. The secret is never checked: signatures are not verified here.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// `ASIA` and 16 characters.
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) session_token: String,
}

/// Secrets stay out of logs, even false ones: somebody will search for the pattern.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// Whom issued credentials stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) role_arn: String,
    /// `AROA` and 17 characters.
    pub(crate) role_id: String,
    /// The function's name, for functions.
    pub(crate) session_name: String,
}

impl Session {
    /// Returns `arn:aws:sts::{account}:assumed-role/{role}/{session}`: the role's name without its path.
    pub(crate) fn assumed_role_arn(&self) -> String {
        let (prefix, role) = self.role_arn.split_once(":role/").unwrap_or((&self.role_arn, ""));
        let name = role.rsplit('/').next().unwrap_or_default();
        format!(
            "{}:assumed-role/{name}/{}",
            prefix.replacen(":iam:", ":sts:", 1),
            self.session_name
        )
    }

    /// Returns the unique id of the caller: `AROA…:{session}`.
    pub(crate) fn user_id(&self) -> String {
        format!("{}:{}", self.role_id, self.session_name)
    }
}

impl Iam {
    /// Issues credentials for a role of this account; they do not expire.
    ///
    /// # Errors
    /// `NoSuchEntity` when the role does not exist.
    pub(crate) fn issue(&self, role_arn: &str, session_name: &str) -> Result<Credentials, ApiError> {
        let mut state = self.state.write();
        let role = state
            .roles
            .values()
            .find(|role| role.arn == role_arn)
            .ok_or_else(|| ApiError::new(404, "NoSuchEntity", format!("The role {role_arn} cannot be found.")))?;
        let session = Session {
            role_arn: role_arn.to_owned(),
            role_id: role.id.clone(),
            session_name: session_name.to_owned(),
        };
        let credentials = Credentials {
            access_key_id: super::unique_id("ASIA", 16),
            secret_access_key: super::unique_id("", 40),
            session_token: super::unique_id("", 64),
        };
        state.sessions.insert(credentials.access_key_id.clone(), session);
        Ok(credentials)
    }

    /// Returns whom an access key stands for, where it was issued here.
    pub(crate) fn session(&self, access_key_id: &str) -> Option<Session> {
        self.state.read().sessions.get(access_key_id).cloned()
    }

    /// Forgets credentials whose process has ended.
    pub(crate) fn revoke(&self, access_key_id: &str) {
        self.state.write().sessions.remove(access_key_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assumed_role_is_named_without_its_path() {
        let session = Session {
            role_arn: "arn:aws:iam::000000000000:role/team/chat-send".to_owned(),
            role_id: "AROA1".to_owned(),
            session_name: "chat-dev-send".to_owned(),
        };
        assert_eq!(
            session.assumed_role_arn(),
            "arn:aws:sts::000000000000:assumed-role/chat-send/chat-dev-send"
        );
        assert_eq!(session.user_id(), "AROA1:chat-dev-send");
    }
}

//! How commands in other terminals find a running local cloud: `target/stackwright/local.json`. Of several, they find the
//! one that was started last.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use infra_local::{LocalCloud, Options, StartError, Unkindness};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::ui;
use crate::workspace::{Workspace, write_atomically};

/// Stage that lives in the local cloud.
pub(crate) const STAGE: &str = "local";
/// Access key and secret of the local cloud, which checks neither.
pub(crate) const CREDENTIAL: &str = "local";
/// Twelve digits that no AWS account has.
pub(crate) const ACCOUNT: &str = "000000000000";

/// Port of `dev` and `local` that name none.
pub(crate) const DEFAULT_PORT: u16 = 4566;

const FILE: &str = "local.json";
/// Loopback answers within microseconds; this is for a machine under heavy load.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// A running local cloud, as its file and `cargo xtask local --output json` tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Address {
    /// `http://127.0.0.1:PORT`
    pub(crate) endpoint: String,
    /// Its Region.
    pub(crate) region: String,
    /// Its account id.
    pub(crate) account: String,
    /// Process id.
    pub(crate) pid: u32,
}

/// A local cloud in this process. Its file goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    cloud: LocalCloud,
    address: Address,
    _file: AddressFile,
}

impl Running {
    /// Starts a local cloud and tells other processes.
    ///
    /// # Errors
    /// When the port is taken, or the folder cannot be used.
    pub(crate) async fn start(
        workspace: &Workspace,
        port: u16,
        region: &str,
        persist: Option<PathBuf>,
        unkindness: Unkindness,
    ) -> Result<Self, Failure> {
        let options = Options {
            port,
            region: region.to_owned(),
            account: ACCOUNT.to_owned(),
            persist,
            unkindness,
        };
        let cloud = LocalCloud::start(options).await.map_err(|error| {
            let in_use = matches!(&error, StartError::Listen { source, .. }
                if source.kind() == std::io::ErrorKind::AddrInUse);
            let failure = Failure::new("the local cloud did not start").because(error);
            if in_use {
                failure.help(format!(
                    "another local cloud may be running: stop it, or choose another port with --port {} (0: any free one)",
                    port.wrapping_add(1)
                ))
            } else {
                failure
            }
        })?;
        let address = Address {
            endpoint: cloud.endpoint().trim_end_matches('/').to_owned(),
            region: region.to_owned(),
            account: ACCOUNT.to_owned(),
            pid: std::process::id(),
        };
        let file = AddressFile::write(workspace, &address)?;
        if let Some(before) = &file.before {
            ui::say(format_args!(
                "another local cloud of this checkout runs at {}; until this one ends, --stage {STAGE} means this one",
                before.endpoint
            ));
        }
        Ok(Self {
            cloud,
            address,
            _file: file,
        })
    }

    /// Returns where it answers.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Ends all function processes and the listener.
    pub(crate) async fn stop(self) {
        self.cloud.stop().await;
    }
}

/// Returns the local cloud that runs for this checkout, or `None` when none answers.
pub(crate) fn find(workspace: &Workspace) -> Option<Address> {
    let text = std::fs::read(workspace.scratch.join(FILE)).ok()?;
    let address: Address = serde_json::from_slice(&text).ok()?;
    answers(&address.endpoint).then_some(address)
}

/// Returns whether anything listens at a loopback endpoint; the file of a killed process stays behind.
fn answers(endpoint: &str) -> bool {
    endpoint
        .trim_start_matches("http://")
        .parse::<SocketAddr>()
        .is_ok_and(|address| TcpStream::connect_timeout(&address, PROBE_TIMEOUT).is_ok())
}

#[derive(Debug)]
struct AddressFile {
    path: PathBuf,
    pid: u32,
    /// Another local cloud that runs, which this one hides.
    before: Option<Address>,
}

impl AddressFile {
    fn write(workspace: &Workspace, address: &Address) -> Result<Self, Failure> {
        let before = find(workspace);
        let path = workspace.scratch.join(FILE);
        let text = serde_json::json!(address).to_string();
        write_atomically(&path, text.as_bytes())
            .map_err(|error| Failure::new(format!("cannot write {}", path.display())).because(error))?;
        Ok(Self {
            path,
            pid: address.pid,
            before,
        })
    }
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        // A second local cloud may have written its own address meanwhile: that one stays.
        let ours = std::fs::read(&self.path)
            .ok()
            .and_then(|text| serde_json::from_slice::<Address>(&text).ok())
            .is_some_and(|address| address.pid == self.pid);
        if !ours {
            return;
        }
        let before = self.before.take().filter(|before| answers(&before.endpoint));
        let _ = match before {
            Some(before) => write_atomically(&self.path, serde_json::json!(before).to_string().as_bytes()),
            None => std::fs::remove_file(&self.path),
        };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::net::TcpListener;

    use super::*;

    fn workspace(folder: &tempfile::TempDir) -> Workspace {
        Workspace {
            root: folder.path().to_owned(),
            scratch: folder.path().join("target/stackwright"),
        }
    }

    fn address(endpoint: String) -> Address {
        Address {
            endpoint,
            region: "us-east-1".to_owned(),
            account: ACCOUNT.to_owned(),
            pid: std::process::id(),
        }
    }

    #[test]
    fn a_running_cloud_is_found_until_its_file_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = workspace(&folder);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = address(format!("http://{}", listener.local_addr().unwrap()));
        assert_eq!(find(&workspace), None);
        let file = AddressFile::write(&workspace, &address).unwrap();
        assert_eq!(find(&workspace), Some(address));
        drop(file);
        assert_eq!(find(&workspace), None);
    }

    #[test]
    fn the_file_of_a_killed_cloud_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = workspace(&folder);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let _file = AddressFile::write(&workspace, &address(endpoint)).unwrap();
        assert_eq!(find(&workspace), None);
    }

    #[test]
    fn an_earlier_cloud_is_found_again_if_it_still_runs() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = workspace(&folder);
        let listen = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = address(format!("http://{}", listener.local_addr().unwrap()));
            (listener, address)
        };
        let (listener, first) = listen();
        let _first = AddressFile::write(&workspace, &first).unwrap();
        let (_listener, second) = listen();
        let file = AddressFile::write(&workspace, &second).unwrap();
        assert_eq!(find(&workspace).as_ref(), Some(&second));
        drop(file);
        assert_eq!(find(&workspace).as_ref(), Some(&first));
        let file = AddressFile::write(&workspace, &second).unwrap();
        drop(listener);
        drop(file);
        assert!(!workspace.scratch.join(FILE).exists());
    }

    #[test]
    fn the_file_of_a_later_cloud_stays() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = workspace(&folder);
        let first = AddressFile::write(&workspace, &address("http://127.0.0.1:1".to_owned())).unwrap();
        let mut second = address("http://127.0.0.1:2".to_owned());
        second.pid += 1;
        let _second = AddressFile::write(&workspace, &second).unwrap();
        drop(first);
        assert!(workspace.scratch.join(FILE).exists());
    }
}

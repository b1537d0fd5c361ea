//! Keeps the services' state in a folder between runs, where [`Options::persist`](crate::Options::persist) asks for it.
//!
//! A service holds its state in a [`Kept`] and is named in [`stores`]; the rest happens here: the whole state of a
//! service is one JSON file, read at the start, and written anew within half a second of a change and at the end. A
//! reader never sees half a file. DynamoDB's tables are not here: the library has its own file for them.

use std::fs;
use std::io::{self, Write as _};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cloud::{Cloud, SharedCloud};

/// How long a change may wait for its way to the disk.
const SAVE_INTERVAL: Duration = Duration::from_millis(500);
/// Verbs of AWS's actions that change nothing.
const READING_VERBS: [&str; 5] = ["Describe", "Filter", "Get", "List", "Query"];

/// Returns all states that are kept, by the names of their files.
fn stores(cloud: &Cloud) -> [(&'static str, &dyn Store); 7] {
    [
        ("apigatewayv2", cloud.apigatewayv2.kept()),
        ("cloudwatch", cloud.cloudwatch.kept()),
        ("dynamodb", cloud.dynamodb.kept()),
        ("iam", cloud.iam.kept()),
        ("lambda", cloud.lambda.kept()),
        ("logs", cloud.logs.kept()),
        ("ssm", cloud.ssm.kept()),
    ]
}

/// A service's state behind its lock, which knows whether it may have changed since it was saved.
#[derive(Debug, Default)]
pub(crate) struct Kept<T> {
    state: Mutex<T>,
    changed: AtomicBool,
}

impl<T> Kept<T> {
    /// Locks the state to look at it.
    pub(crate) fn read(&self) -> impl Deref<Target = T> + '_ {
        self.lock()
    }

    /// Locks the state to change it.
    pub(crate) fn write(&self) -> MutexGuard<'_, T> {
        let state = self.lock();
        self.changed.store(true, Ordering::Relaxed);
        state
    }

    /// Locks the state for an action of the service: to change it, unless the action's verb only reads.
    pub(crate) fn for_action(&self, action: &str) -> MutexGuard<'_, T> {
        if READING_VERBS.iter().any(|verb| action.starts_with(verb)) {
            self.lock()
        } else {
            self.write()
        }
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What saving needs of a [`Kept`], whatever it holds.
pub(crate) trait Store {
    /// Replaces the state.
    fn load(&self, json: &[u8]) -> serde_json::Result<()>;
    /// Returns the state where it may have changed since this was last called.
    fn take_changed(&self) -> serde_json::Result<Option<Vec<u8>>>;
    /// Makes the next [`Store::take_changed`] return the state again.
    fn mark_changed(&self);
}

impl<T: Serialize + DeserializeOwned> Store for Kept<T> {
    fn load(&self, json: &[u8]) -> serde_json::Result<()> {
        *self.lock() = serde_json::from_slice(json)?;
        Ok(())
    }

    fn take_changed(&self) -> serde_json::Result<Option<Vec<u8>>> {
        // Changes set the flag under the lock, so none slips between flag and state.
        let state = self.lock();
        self.changed
            .swap(false, Ordering::Relaxed)
            .then(|| serde_json::to_vec(&*state))
            .transpose()
    }

    fn mark_changed(&self) {
        self.changed.store(true, Ordering::Relaxed);
    }
}

/// The folder, for as long as a cloud uses it.
#[derive(Debug)]
pub(crate) struct Keeper {
    folder: PathBuf,
    /// One save at a time, so that an older state cannot replace a newer one.
    saving: Mutex<()>,
}

impl Keeper {
    /// Loads what the folder holds; a service without a file stays as it is.
    ///
    /// # Errors
    /// The path that could not be read or understood, and why.
    pub(crate) fn open(folder: &Path, cloud: &Cloud) -> Result<Self, (PathBuf, io::Error)> {
        for (name, store) in stores(cloud) {
            let path = folder.join(file_name(name));
            let loaded = match fs::read(&path) {
                Ok(json) => store.load(&json).map_err(io::Error::from),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            };
            loaded.map_err(|error| (path, error))?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            saving: Mutex::default(),
        })
    }

    /// Writes what has changed. Blocks; a failure is logged and tried again with the next call.
    pub(crate) fn save(&self, cloud: &Cloud) {
        let _one_at_a_time = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, store) in stores(cloud) {
            let saved = match store.take_changed() {
                Ok(None) => continue,
                Ok(Some(json)) => replace_file(&self.folder, &file_name(name), &json),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = saved {
                store.mark_changed();
                tracing::warn!(%error, service = name, folder = %self.folder.display(), "the state could not be saved");
            }
        }
    }

    /// Saves again and again; ends when its task is aborted.
    pub(crate) async fn keep_saving(self: Arc<Self>, cloud: SharedCloud) {
        loop {
            tokio::time::sleep(SAVE_INTERVAL).await;
            let (keeper, cloud) = (Arc::clone(&self), Arc::clone(&cloud));
            if tokio::task::spawn_blocking(move || keeper.save(&cloud)).await.is_err() {
                return; // The runtime is shutting down.
            }
        }
    }
}

fn file_name(service: &str) -> String {
    format!("{service}.json")
}

/// Writes a file that is complete at every moment, and readable by its owner only: parameters may be secret.
fn replace_file(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let draft = folder.join(format!(".{name}.new"));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&draft, folder.join(name))
}

//! Packages that are still being made while a deployment goes on.
//!
//! Whoever compiles holds the [`Packer`]; the engine holds the [`Packaging`], and begins a function's step once its
//! package is there. Knows neither compilers nor files. Read next: `apply`.

use tokio::sync::watch;

use crate::plan::{Package, Packages};

/// Hands over packages as they are made. Dropped before [`Packer::finish`], it says that no more will come.
#[derive(Debug)]
pub struct Packer(watch::Sender<Made>);

/// Packages that are there, and those to come.
#[derive(Clone, Debug)]
pub struct Packaging(watch::Receiver<Made>);

#[derive(Clone, Debug, Default)]
struct Made {
    packages: Packages,
    is_complete: bool,
}

/// Returns both ends.
#[must_use]
pub fn packaging() -> (Packer, Packaging) {
    let (sender, receiver) = watch::channel(Made::default());
    (Packer(sender), Packaging(receiver))
}

impl Packer {
    /// Hands over the package of the function binary `name`.
    pub fn add(&self, name: String, package: Package) {
        self.0.send_modify(|made| {
            made.packages.insert(name, package);
        });
    }

    /// Says that all packages have been handed over.
    pub fn finish(self) {
        self.0.send_modify(|made| made.is_complete = true);
    }
}

impl From<Packages> for Packaging {
    fn from(packages: Packages) -> Self {
        let (packer, packaging) = packaging();
        for (name, package) in packages {
            packer.add(name, package);
        }
        packer.finish();
        packaging
    }
}

impl Packaging {
    /// Returns the packages that are there.
    #[must_use]
    pub fn known(&self) -> Packages {
        self.0.borrow().packages.clone()
    }

    /// Waits for all packages; `None` when they will never be complete.
    pub async fn complete(&self) -> Option<Packages> {
        let mut receiver = self.0.clone();
        let made = receiver.wait_for(|made| made.is_complete).await.ok()?;
        Some(made.packages.clone())
    }

    /// Returns the packages that are there; [`Packaging::changed`] tells of those that come later.
    pub(crate) fn look(&mut self) -> Packages {
        self.0.borrow_and_update().packages.clone()
    }

    /// Returns whether no more will come.
    pub(crate) fn is_over(&self) -> bool {
        self.0.borrow().is_complete || self.0.has_changed().is_err()
    }

    /// Waits until another package has come since the last look, or none will come any more.
    pub(crate) async fn changed(&mut self) {
        // An error says that none will come.
        let _ = self.0.changed().await;
    }
}

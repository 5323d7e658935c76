//! A store, the service over it, and the folder in which both live.
//!
//! Invariant: whatever was started here is stopped, and what was written removed, when the stand goes.
//! Not here: what is measured on it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::load::{Load, Measured, drive};
use crate::script::Script;
use xtask_machine::cluster::Cluster;
use xtask_machine::process;
use xtask_machine::service::{Service, Start};

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Store {
    /// SQLite in the service.
    Embedded,
    /// A PostgreSQL server with default durability.
    Postgres,
}

impl Store {
    /// Returns its name in the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// Where stands are made, and with which service.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The service's binary.
    pub(crate) tracer: PathBuf,
    /// Below which the files of stands lie.
    pub(crate) folder: PathBuf,
    /// Settings of the service beside the shipped ones, each `key=value`.
    pub(crate) settings: Vec<String>,
    /// To which file the service's log is appended, if any.
    pub(crate) log: Option<PathBuf>,
}

/// A store and perhaps the service over it.
#[derive(Debug)]
pub(crate) struct Stand {
    // In the order in which they are to go.
    service: Option<Service>,
    cluster: Option<Cluster>,
    folder: TempDir,
    place: Place,
    store: Store,
}

impl Stand {
    /// Makes an empty store, without a service yet.
    ///
    /// # Errors
    /// When there is no room for it, or PostgreSQL does not start.
    pub(crate) fn new(place: &Place, store: Store) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("tracer-bench-")
            .tempdir_in(&place.folder)
            .with_context(|| format!("no folder in {}", place.folder.display()))?;
        // PostgreSQL may run as another user, who has to get through.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let cluster = match store {
            Store::Embedded => None,
            Store::Postgres => Some(Cluster::start(folder.path())?),
        };
        Ok(Self { service: None, cluster, folder, place: place.clone(), store })
    }

    /// Makes an empty store and starts the service over it.
    ///
    /// # Errors
    /// When either does not start.
    pub(crate) fn serving(place: &Place, store: Store) -> Result<Self> {
        let mut stand = Self::new(place, store)?;
        stand.start()?;
        Ok(stand)
    }

    /// Starts the service and waits until it is ready.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.stop();
        self.service = Some(Service::start(&self.plan(self.url().as_deref()))?);
        Ok(())
    }

    /// As [`Stand::start`], with further settings, each `key=value`, before those of the place.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn start_with(&mut self, further: &[String]) -> Result<()> {
        self.stop();
        let settings = [further, &self.place.settings].concat();
        let database = self.url();
        let start = Start { settings: &settings, ..self.plan(database.as_deref()) };
        self.service = Some(Service::start(&start)?);
        Ok(())
    }

    /// Starts the service and returns how long that took until it was ready.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn start_timed(&mut self) -> Result<Duration> {
        self.stop();
        let (service, took) = Service::start_timed(&self.plan(self.url().as_deref()))?;
        self.service = Some(service);
        Ok(took)
    }

    /// Stops the service in order.
    pub(crate) fn stop(&mut self) {
        self.service = None;
    }

    /// Returns the service.
    ///
    /// # Errors
    /// When none was started.
    pub(crate) fn service(&self) -> Result<&Service> {
        self.service.as_ref().context("the service was not started")
    }

    /// Drives the service with one script per client.
    ///
    /// # Errors
    /// When it is gone, of which the message says how it ended, or the run is interrupted.
    pub(crate) fn drive<S: Script>(&mut self, load: &Load, make: impl FnMut(usize) -> S) -> Result<Measured> {
        let address = self.service()?.address();
        drive(address, load, make).map_err(|error| {
            match self.service.as_mut().and_then(Service::ending_soon) {
                Some(ending) => error.context(format!("the service has ended: {ending}")),
                None => error,
            }
        })
    }

    /// Returns which store this is.
    pub(crate) const fn store(&self) -> Store {
        self.store
    }

    /// Returns the PostgreSQL server, to stop and start it.
    ///
    /// # Errors
    /// When the store is another.
    pub(crate) fn cluster(&mut self) -> Result<&mut Cluster> {
        self.cluster.as_mut().context("this store has no server")
    }

    /// Returns the URL of the PostgreSQL database.
    pub(crate) fn url(&self) -> Option<String> {
        self.cluster.as_ref().map(Cluster::url)
    }

    /// Returns the file of the embedded store.
    ///
    /// # Errors
    /// When the store is another, or has no file yet.
    pub(crate) fn file(&self) -> Result<PathBuf> {
        let file = self.folder.path().join("data/tracer.db");
        if !file.is_file() {
            bail!("the embedded store has no file: was the service started?");
        }
        Ok(file)
    }

    /// Returns the folder of everything.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the processor time used so far, in seconds: of the service, of PostgreSQL, of this process.
    pub(crate) fn cpu_seconds(&self) -> Cpu {
        let of = |id: Option<u32>| id.map(process::cpu_seconds).unwrap_or_default();
        Cpu {
            service: of(self.service.as_ref().map(Service::id)),
            database: of(self.cluster.as_ref().and_then(Cluster::id)),
            client: process::own_cpu_seconds(),
        }
    }

    fn plan<'a>(&'a self, database: Option<&'a str>) -> Start<'a> {
        let Place { tracer, settings, log, .. } = &self.place;
        Start { tracer, address: None, folder: self.folder.path(), database, settings, log: log.as_deref() }
    }
}

/// Processor time in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    /// Of the service.
    pub(crate) service: f64,
    /// Of PostgreSQL and its backends.
    pub(crate) database: f64,
    /// Of this process, which is the client.
    pub(crate) client: f64,
}

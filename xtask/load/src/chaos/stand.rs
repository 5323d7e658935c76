//! What is to survive: replicas of the service over one PostgreSQL.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use tempfile::TempDir;
use xtask_machine::cluster::{Cluster, free_port};
use xtask_machine::service::{Service, Start};

/// Where it is made, and with what.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The service's binary.
    pub(crate) tracer: PathBuf,
    /// Below which its files lie.
    pub(crate) folder: PathBuf,
    /// Where the logs of the replicas go, if anywhere.
    pub(crate) log: Option<PathBuf>,
    /// Where those listen who are told of incidents.
    pub(crate) channels: SocketAddr,
}

/// The replicas and their database; all of it goes with this.
#[derive(Debug)]
pub(crate) struct Stand {
    // In the order in which they are to go.
    replicas: Vec<Replica>,
    /// The database.
    pub(crate) cluster: Cluster,
    folder: TempDir,
    place: Place,
}

#[derive(Debug)]
struct Replica {
    address: SocketAddr,
    service: Option<Service>,
}

impl Stand {
    /// Starts all of it.
    ///
    /// # Errors
    /// When something does not start.
    pub(crate) fn start(place: Place, replicas: usize) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("tracer-chaos-").tempdir_in(&place.folder)?;
        // PostgreSQL may run as another user, who has to get through.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let cluster = Cluster::start(folder.path())?;
        fs::write(folder.path().join("tracer.toml"), settings(place.channels))?;
        let made = (0..replicas).map(|_| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
            Ok(Replica { address, service: None })
        });
        let replicas = made.collect::<Result<Vec<Replica>>>()?;
        let mut stand = Self { replicas, cluster, folder, place };
        (0..stand.replicas.len()).try_for_each(|number| stand.start_replica(number))?;
        Ok(stand)
    }

    /// Returns where the replicas listen, now and after they were started again.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.replicas.iter().map(|replica| format!("http://{}", replica.address)).collect()
    }

    /// Returns how many replicas there are.
    pub(crate) fn replicas(&self) -> usize {
        self.replicas.len()
    }

    /// Returns the id of a replica's process, while it runs.
    pub(crate) fn process(&self, number: usize) -> Option<u32> {
        self.replicas.get(number)?.service.as_ref().map(Service::id)
    }

    /// Starts a replica that does not run.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn start_replica(&mut self, number: usize) -> Result<()> {
        let database = self.cluster.url();
        let replica = self.replicas.get_mut(number).context("no such replica")?;
        let start = Start {
            tracer: &self.place.tracer,
            address: Some(replica.address),
            folder: self.folder.path(),
            database: Some(&database),
            settings: &[],
            log: self.place.log.as_deref(),
        };
        replica.service = Some(Service::start(&start)?);
        Ok(())
    }

    /// Kills a replica.
    pub(crate) fn kill_replica(&mut self, number: usize) {
        if let Some(service) = self.replicas.get_mut(number).and_then(|replica| replica.service.take()) {
            service.kill();
        }
    }

    /// Stops a replica in order.
    pub(crate) fn stop_replica(&mut self, number: usize) {
        if let Some(replica) = self.replicas.get_mut(number) {
            replica.service = None;
        }
    }
}

/// Everybody hears of everything, as fast as it comes: what is looked for is what is lost.
fn settings(channels: SocketAddr) -> String {
    format!(
        "[alerts]\ngroup_wait = \"0s\"\n\
         [[slo]]\nname = \"all\"\nobjective = 0.95\n\
         [[channel]]\nname = \"slack\"\ntype = \"slack\"\nwebhook_url = \"http://{channels}/slack\"\nrate_per_second = 50\ntimeout = \"5s\"\n\
         [[channel]]\nname = \"ledger\"\ntype = \"webhook\"\nurl = \"http://{channels}/webhook\"\nrate_per_second = 50\ntimeout = \"5s\"\n"
    )
}

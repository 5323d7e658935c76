//! The limit of HTTP: the same framework answering a constant, in a process of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::load::{Load, Measured, drive};
use crate::script::Posting;
use xtask_machine::cluster::free_port;
use xtask_machine::process::{Process, bound_command};
use xtask_machine::service::fetch;

/// The argument by which this program becomes the server of constants.
pub(crate) const CONSTANT: &str = "constant";

/// As long as what the service answers to completing a step.
const ANSWER: &str = r#"{"step_id":"st_0123456789abcdef","workflow_id":"wf_0123456789abcdef0123456789abcdef","step_name":"transform","status":"completed","started_at":"2026-01-31T12:00:00.123Z","ended_at":"2026-01-31T12:00:00.223Z","duration_ms":100,"bottleneck":null}"#;

/// A server of constants.
#[derive(Debug)]
pub(crate) struct Constant {
    _process: Process,
    address: SocketAddr,
}

impl Constant {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn start() -> Result<Self> {
        let port = free_port()?;
        let mut command = bound_command(&std::env::current_exe()?, "KILL");
        command.args([CONSTANT, &port.to_string()]).stdin(Stdio::null()).stdout(Stdio::null());
        let process = Process::start(&mut command, Signal::TERM)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let began = Instant::now();
        while !fetch(address, "/").is_ok_and(|(status, _)| status == 200) {
            ensure!(began.elapsed() < Duration::from_secs(10), "the server of constants does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Self { _process: process, address })
    }

    /// Drives it with so many clients, each sending a body such as the service gets.
    ///
    /// # Errors
    /// When it cannot be reached, or the run is interrupted.
    pub(crate) fn measure(&self, clients: usize, length: Duration) -> Result<Measured> {
        let warm_up = Duration::from_millis(300);
        let load = Load { clients, warm_up, length };
        drive(self.address, &load, |_| Posting)
    }
}

/// Serves constants on a port until SIGTERM, with as many workers as the service has by default.
///
/// # Errors
/// When the port is taken.
pub(crate) fn serve(port: u16) -> Result<()> {
    Ok(actix_web::rt::System::new().block_on(async move {
        let app = || App::new().default_service(web::to(constant));
        HttpServer::new(app).bind((Ipv4Addr::LOCALHOST, port))?.shutdown_timeout(1).run().await
    })?)
}

/// Reads the body, as any handler here has to, and nothing of it.
async fn constant(_: web::Bytes) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(ANSWER)
}

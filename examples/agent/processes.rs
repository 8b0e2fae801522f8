//! The server, and the process that ships: the agent or a peer.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};

/// Ticks of the CPU clock in /proc, a second.
const TICKS: u64 = 100;

/// A process that ends with us.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// What a process has used.
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) resident_kib: u64,
    pub(crate) peak_kib: u64,
    /// Voluntary context switches: each is a wait, and most end with a wake-up.
    pub(crate) switches: u64,
}

/// Ships lines of files to an address.
pub(crate) struct Shipper {
    process: Process,
    server: Option<Process>,
    root: PathBuf,
    /// Where lines arrive: at a server, or at a socket of ours.
    pub(crate) address: String,
    pub(crate) listener: Option<TcpListener>,
}

fn program() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.parent().and_then(Path::parent).context("an example stands below its profile")?.join("connectify");
    anyhow::ensure!(path.exists(), "{} is missing: cargo build --release", path.display());
    Ok(path)
}

fn spawn(command: &mut Command) -> anyhow::Result<Process> {
    let log = std::env::var_os("AGENT_BENCH_LOG").is_some();
    let stderr = if log { Stdio::inherit() } else { Stdio::null() };
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn();
    Ok(Process(child.with_context(|| format!("cannot start {command:?}"))?))
}

fn start_server(root: &Path, address: &str) -> anyhow::Result<(Process, String)> {
    let mut server =
        spawn(Command::new(program()?).args(["serve", "--listen", address, "--data"]).arg(root.join("data")))?;
    let mut greeting = String::new();
    BufReader::new(server.0.stdout.take().context("piped")?).read_line(&mut greeting)?;
    let address = greeting.strip_prefix("listening on ").and_then(|rest| rest.split(',').next());
    Ok((server, address.with_context(|| format!("{greeting:?} names no address"))?.to_owned()))
}

impl Shipper {
    /// Starts whoever ships all files beside `log`; a peer is told of that one alone.
    pub(crate) fn start(peer: &str, root: &Path, log: &Path) -> anyhow::Result<Self> {
        let (server, listener) = match peer {
            "connectify" => (Some(start_server(root, "127.0.0.1:0")?), None),
            _ => (None, Some(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?)),
        };
        let (server, address) = match (server, &listener) {
            (Some((server, address)), _) => (Some(server), address),
            (None, Some(listener)) => (None, listener.local_addr()?.to_string()),
            (None, None) => bail!("nowhere to ship to"),
        };
        let process = match peer {
            "connectify" => {
                let include = root.join("logs/*.log");
                let source = format!("name = \"app\"\ntopic = \"app\"\ninclude = [{include:?}]\nkey = \"none\"\n");
                agent(root, &address, &format!("[[source.file]]\n{source}"))?
            }
            "rsyslog" => rsyslog(root, log, &address)?,
            "syslog-ng" => syslog_ng(root, log, &address)?,
            _ => bail!("{peer}: want rsyslog or syslog-ng"),
        };
        Ok(Self { process, server, root: root.to_owned(), address, listener })
    }

    /// Starts an agent with these sources.
    pub(crate) fn with_sources(root: &Path, sources: &str) -> anyhow::Result<Self> {
        let (server, address) = start_server(root, "127.0.0.1:0")?;
        let process = agent(root, &address, sources)?;
        Ok(Self { process, server: Some(server), root: root.to_owned(), address, listener: None })
    }

    /// Kills the agent, and starts it again.
    pub(crate) fn restart_agent(&mut self) -> anyhow::Result<()> {
        self.process.0.kill()?;
        self.process.0.wait()?;
        self.process = run_agent(&self.root)?;
        Ok(())
    }

    /// Stops the agent where it is, or lets it go on.
    pub(crate) fn stop_listening(&self, stops: bool) -> anyhow::Result<()> {
        let signal = if stops { rustix::process::Signal::STOP } else { rustix::process::Signal::CONT };
        let id = i32::try_from(self.process.0.id())?;
        let id = rustix::process::Pid::from_raw(id).context("a process")?;
        Ok(rustix::process::kill_process(id, signal)?)
    }

    /// How often inotify lost events, as the agent says.
    pub(crate) fn overflows(&self) -> anyhow::Result<u64> {
        let config = self.root.join("agent.toml");
        let output = Command::new(program()?).args(["agent", "status", "--json", "--config"]).arg(config).output()?;
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).context("the status of the agent")?;
        status["sources"][0]["overflows"].as_u64().with_context(|| format!("no overflows in {status}"))
    }

    pub(crate) fn stop_server(&mut self) -> anyhow::Result<()> {
        self.server.take().map(drop).context("there is one")
    }

    pub(crate) fn start_server(&mut self) -> anyhow::Result<()> {
        self.server = Some(start_server(&self.root, &self.address)?.0);
        Ok(())
    }

    /// What the shipping process has used so far.
    pub(crate) fn usage(&mut self) -> anyhow::Result<Usage> {
        let id = self.process.0.id();
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).context("the shipping process has ended")?;
        let fields: Vec<&str> = stat.rsplit(')').next().context("a name")?.split_whitespace().collect();
        let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let value = |name: &str| -> anyhow::Result<u64> {
            let line = status.lines().find(|line| line.starts_with(name)).context("a field of status")?;
            Ok(line.split_whitespace().nth(1).context("a value")?.parse()?)
        };
        Ok(Usage {
            cpu: Duration::from_millis(ticks * 1000 / TICKS),
            resident_kib: value("VmRSS:")?,
            peak_kib: value("VmHWM:")?,
            switches: value("voluntary_ctxt_switches:")?,
        })
    }
}

fn agent(root: &Path, address: &str, sources: &str) -> anyhow::Result<Process> {
    let state = root.join("state");
    let text = format!("[server]\naddress = \"{address}\"\n[agent]\nid = \"bench\"\nstate_dir = {state:?}\n{sources}");
    fs::write(root.join("agent.toml"), text)?;
    run_agent(root)
}

fn run_agent(root: &Path) -> anyhow::Result<Process> {
    spawn(Command::new(program()?).args(["agent", "run", "--config"]).arg(root.join("agent.toml")))
}

fn rsyslog(root: &Path, log: &Path, address: &str) -> anyhow::Result<Process> {
    let (host, port) = address.split_once(':').context("host and port")?;
    let config = root.join("rsyslog.conf");
    let text = format!(
        "global(workDirectory={root:?} maxMessageSize=\"64k\")\nmodule(load=\"imfile\" mode=\"inotify\")\n\
         template(name=\"raw\" type=\"string\" string=\"%rawmsg%\\n\")\n\
         input(type=\"imfile\" file={log:?} tag=\"x\" ruleset=\"out\")\n\
         ruleset(name=\"out\") {{ action(type=\"omfwd\" target=\"{host}\" port=\"{port}\" protocol=\"tcp\" template=\"raw\") }}\n"
    );
    fs::write(&config, text)?;
    spawn(Command::new("rsyslogd").arg("-n").arg("-f").arg(config).arg("-i").arg(root.join("rsyslog.pid")))
}

fn syslog_ng(root: &Path, log: &Path, address: &str) -> anyhow::Result<Process> {
    let (host, port) = address.split_once(':').context("host and port")?;
    let config = root.join("syslog-ng.conf");
    let text = format!(
        "@version: 3.38\nsource s {{ file({log:?} follow-freq(0.1) flags(no-parse)); }};\n\
         destination d {{ network(\"{host}\" port({port}) transport(tcp) template(\"$MSG\\n\")); }};\n\
         log {{ source(s); destination(d); flags(flow-control); }};\n"
    );
    fs::write(&config, text)?;
    let files = ["--persist-file", "--pidfile", "--control"].map(|name| (name, root.join(&name[2..])));
    let mut command = Command::new("syslog-ng");
    command.arg("-F").arg("-f").arg(config);
    for (name, path) in files {
        command.arg(name).arg(path);
    }
    spawn(&mut command)
}

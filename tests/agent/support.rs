//! A server, an agent, a directory of logs, and what has arrived.

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use connectify::{
    Client, Record, Server, ServerConfig,
    agent::{Agent, Config, Reply, Request, ask},
    client::Start,
};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// Far longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something, but not for ever.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

/// A server in this process, with its data on disk.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl TestServer {
    pub(crate) async fn on(directory: &Path, address: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let server = Server::open(ServerConfig::default().with_data_dir(directory.to_owned())).expect("opens");
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            server.run(listener, async { stopped.await.unwrap_or_default() }).await.expect("ends well");
        });
        Self { address, stop: Some(stop), task }
    }

    pub(crate) async fn stop(mut self) {
        self.stop.take();
        within("the server ends", &mut self.task).await.expect("no panic");
    }
}

/// Everything that a test needs.
pub(crate) struct World {
    root: TempDir,
    pub(crate) server: Option<TestServer>,
    agent: Option<(oneshot::Sender<()>, JoinHandle<anyhow::Result<()>>)>,
    pub(crate) client: Client,
    address: SocketAddr,
    /// What stands in the configuration beside what every source needs.
    pub(crate) options: String,
    pub(crate) include: String,
    /// Another source instead of files.
    pub(crate) source: Option<String>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir(root.path().join("logs")).expect("made");
        let server = TestServer::on(&root.path().join("data"), "127.0.0.1:0").await;
        let address = server.address;
        let client = Client::connect(address.to_string()).await.expect("connects");
        let include = "*.log".to_owned();
        Self { root, server: Some(server), agent: None, client, address, options: String::new(), include, source: None }
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.root.path().join("logs").join(name)
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.root.path().join("state")
    }

    /// Adds to a file, making it if need be.
    pub(crate) fn append(&self, name: &str, text: &str) {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.log(name)).expect("opens");
        file.write_all(text.as_bytes()).expect("written");
    }

    pub(crate) fn config(&self) -> Config {
        let include: Vec<_> = self.include.split(' ').map(|name| format!("{:?}", self.log(name))).collect();
        let files = format!(
            "[[source.file]]\nname = \"app\"\ntopic = \"app\"\ninclude = [{}]\n{}",
            include.join(", "),
            self.options
        );
        let text = format!(
            "[server]\naddress = \"{}\"\n[agent]\nid = \"test\"\nstate_dir = {:?}\n{}",
            self.address,
            self.state_dir(),
            self.source.as_ref().unwrap_or(&files),
        );
        Config::parse(&text, |_| None).expect("valid")
    }

    pub(crate) fn start_agent(&mut self) {
        let agent = Agent::start(self.config()).expect("starts");
        let (stop, stopped) = oneshot::channel::<()>();
        let (_, reloads) = mpsc::channel(1);
        let task = tokio::spawn(agent.run(async { stopped.await.unwrap_or_default() }, reloads));
        self.agent = Some((stop, task));
    }

    /// Stops the agent in order.
    pub(crate) async fn stop_agent(&mut self) {
        let (stop, task) = self.agent.take().expect("it runs");
        drop(stop);
        within("the agent ends", task).await.expect("no panic").expect("ends well");
    }

    pub(crate) fn lose_state(&self) {
        fs::remove_dir_all(self.state_dir()).expect("it was there");
    }

    pub(crate) async fn restart_server(&mut self) {
        self.server.take().expect("it runs").stop().await;
        self.start_server(&self.address.to_string()).await;
    }

    pub(crate) async fn start_server(&mut self, address: &str) {
        self.server = Some(TestServer::on(&self.root.path().join("data"), address).await);
    }

    /// The first records of the topic, as soon as there are so many; there must not be more than these for now.
    pub(crate) async fn records(&self, count: usize) -> Vec<Record> {
        let mut found = Vec::new();
        within("records arrive", async {
            // The agent makes the topic.
            let mut consumer = loop {
                match self.client.consumer("app").start(Start::Head).open().await {
                    Ok(consumer) => break consumer,
                    Err(_) => tokio::task::yield_now().await,
                }
            };
            while found.len() < count {
                found.push(consumer.next_record().await.expect("readable").expect("goes on").record);
            }
        })
        .await;
        found
    }

    pub(crate) async fn lines(&self, count: usize) -> Vec<String> {
        let text = |record: &Record| String::from_utf8_lossy(&record.value).into_owned();
        self.records(count).await.iter().map(text).collect()
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Waits until the source answers.
    pub(crate) async fn until_ready(&self) {
        within("the source is ready", async {
            loop {
                match ask(&self.state_dir(), &Request::Status).await {
                    Ok(Reply::Status(report)) if !report.sources.is_empty() => return,
                    _ => tokio::task::yield_now().await,
                }
            }
        })
        .await;
    }

    /// Waits until the agent follows so many files.
    pub(crate) async fn until_files(&self, count: usize) {
        within("files are followed", async {
            loop {
                match ask(&self.state_dir(), &Request::Status).await {
                    Ok(Reply::Status(report)) if report.sources[0].files == count => return,
                    _ => tokio::task::yield_now().await,
                }
            }
        })
        .await;
    }

    /// How many records there are.
    pub(crate) async fn count(&self) -> u64 {
        self.client.describe_topic("app").await.expect("described").topic.tail
    }

    /// Waits until all that is there is durable, which ends the agent; then the topic must hold just these lines.
    pub(crate) async fn drained(&mut self) -> Vec<String> {
        let reply = within("drains", ask(&self.state_dir(), &Request::Drain)).await.expect("asked");
        assert_eq!(reply, Reply::Done);
        let (_stop, task) = self.agent.take().expect("it runs");
        within("the agent ends", task).await.expect("no panic").expect("ends well");
        let count = self.count().await;
        self.lines(usize::try_from(count).expect("few")).await
    }
}

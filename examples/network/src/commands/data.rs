//! `reconvene data`: which broker holds which data.

use std::{fs::File, io::Read as _, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use reconvene_broker::{Command, ContentHash, DataContent, DataHolder, DataView, Reply};
use ring::digest;
use serde_json::{Value, json};

use crate::{
    client::{self, ConnectArgs},
    exit::Failure,
    show,
};

/// Which broker holds which data. Brokers keep where data is, not the data
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DataArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Publish(PublishArgs),
    Withdraw(NameArgs),
    Locate(NameArgs),
}

/// Says that a broker holds data under a name from now on
#[derive(Args, Debug)]
struct PublishArgs {
    /// What the data is called.
    #[arg(value_name = "NAME")]
    name: String,
    /// The data: it is read here, to know what it is, and goes nowhere.
    #[arg(long, value_name = "FILE", required_unless_present = "hash", conflicts_with_all = ["hash", "size"])]
    file: Option<PathBuf>,
    /// SHA-256 of the data, in 64 hexadecimal digits.
    #[arg(long, value_name = "SHA256", requires = "size")]
    hash: Option<ContentHash>,
    /// How long the data is, in bytes.
    #[arg(long, value_name = "BYTES", requires = "hash")]
    size: Option<u64>,
    #[command(flatten)]
    connect: ConnectArgs,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

/// A name of data
#[derive(Args, Debug)]
struct NameArgs {
    /// What the data is called.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    connect: ConnectArgs,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

impl DataArgs {
    /// Publishes, withdraws or locates.
    ///
    /// # Errors
    /// If a file cannot be read, there is no answer, or the broker refuses.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match &self.what {
            What::Publish(args) => args.publish(),
            What::Withdraw(args) => args.withdraw(),
            What::Locate(args) => args.locate(),
        }
    }
}

impl PublishArgs {
    fn publish(&self) -> Result<(), Failure> {
        let (hash, size) = match (&self.file, self.hash, self.size) {
            (Some(file), ..) => hash_of(file).with_context(|| format!("cannot read {}", file.display()))?,
            (None, Some(hash), Some(size)) => (hash, size),
            (None, ..) => {
                return Err(Failure::usage("say what the data is: '--file <FILE>', or '--hash' and '--size'"));
            }
        };
        let command = Command::PublishData { name: self.name.clone(), hash, size };
        client::ask(&self.connect, command, |reply| {
            let Reply::DataPublished { name, diverges } = reply else { return None };
            if diverges {
                eprintln!("warning: other brokers hold different data under this name; 'data locate' shows all of it");
            }
            let value = json!({"name": name.as_str(), "hash": hash.to_string(), "size": size, "diverges": diverges});
            Some(if self.json {
                show::print_json(&value)
            } else {
                show::print(&format!("published {hash}, {size} bytes\n"))
            })
        })
    }
}

impl NameArgs {
    fn withdraw(&self) -> Result<(), Failure> {
        client::ask(&self.connect, Command::WithdrawData { name: self.name.clone() }, |reply| {
            let Reply::DataWithdrawn { name, was_held, was_sole } = reply else { return None };
            if was_sole {
                eprintln!("warning: no other broker that is heard holds it");
            }
            Some(if self.json {
                show::print_json(&json!({"name": name.as_str(), "was_held": was_held, "was_sole": was_sole}))
            } else {
                show::print(if was_held { "withdrawn\n" } else { "this broker did not hold it\n" })
            })
        })
    }

    fn locate(&self) -> Result<(), Failure> {
        client::ask(&self.connect, Command::Locate { name: self.name.clone() }, |reply| {
            let Reply::Located(view) = reply else { return None };
            Some(if self.json { show::print_json(&view_json(&view)) } else { show::print(&view_text(&view)) })
        })
    }
}

/// What a file is, read piece by piece.
fn hash_of(file: &PathBuf) -> std::io::Result<(ContentHash, u64)> {
    let mut file = File::open(file)?;
    let mut context = digest::Context::new(&digest::SHA256);
    let mut piece = vec![0; 64 * 1024];
    let mut size = 0_u64;
    loop {
        let read = file.read(&mut piece)?;
        let Some(read_piece) = piece.get(..read).filter(|read| !read.is_empty()) else { break };
        context.update(read_piece);
        size = size.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
    let digest = context.finish();
    let mut hash = [0; 32];
    hash.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    Ok((ContentHash(hash), size))
}

fn view_json(view: &DataView) -> Value {
    let holder = |holder: &DataHolder| {
        json!({
            "broker": holder.node.map(|node| node.to_string()),
            "replica": holder.replica.to_string(),
            "address": holder.address,
            "reachable": holder.reachable,
            "since_ms": holder.since.millis(),
        })
    };
    let content = |content: &DataContent| {
        json!({
            "hash": content.hash.to_string(),
            "size": content.size,
            "holders": content.holders.iter().map(holder).collect::<Vec<_>>(),
        })
    };
    json!({
        "name": view.name.as_str(),
        "last_known": view.last_known,
        "contents": view.contents.iter().map(content).collect::<Vec<_>>(),
    })
}

fn view_text(view: &DataView) -> String {
    if view.contents.is_empty() {
        return "nobody holds it any more\n".to_owned();
    }
    let mut table = show::table(&["HASH", "BYTES", "BROKER", "ADDRESS", "STATE"]);
    for content in &view.contents {
        for holder in &content.holders {
            table.add_row(vec![
                content.hash.to_string(),
                content.size.to_string(),
                holder.node.map_or_else(|| format!("replica {}", holder.replica), |node| node.to_string()),
                holder.address.as_deref().map_or_else(|| "-".to_owned(), |address| show::shown(address.as_bytes())),
                if holder.reachable { "heard" } else { "last known" }.to_owned(),
            ]);
        }
    }
    let mut text = show::text_of(&table);
    if view.contents.len() > 1 {
        text.push_str("brokers hold different data under this name\n");
    }
    text
}

const EXAMPLES: &str = "\
Examples:
  reconvene data publish maps/north --file north.pmtiles
  reconvene data publish maps/north --hash ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb --size 1
  reconvene data locate maps/north --connect 10.0.0.8:7400 --json
  reconvene data withdraw maps/north";

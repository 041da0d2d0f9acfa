//! `reconvene bundle`: metadata over a link that is not there.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use reconvene_broker::{BundleRequest, MAX_BUNDLE_BYTES};
use reconvene_clock::NodeId;
use serde_json::json;

use crate::{
    carry,
    client::{Client, ConnectArgs, Taken},
    config::Plain as _,
    exit::Failure,
    service, show,
};

/// Carries metadata over a link that is not there: a file, a USB stick, a store-and-forward network
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BundleArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Export(ExportArgs),
    Import(ImportArgs),
}

/// Writes what a broker holds to a file
#[derive(Args, Debug)]
struct ExportArgs {
    /// The file to write; one that exists is replaced once the new one is complete.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The broker it is for, as `status` prints it: what that one is known to have is left out.
    #[arg(long, value_name = "NODE")]
    to: Option<NodeId>,
    /// Earlier files for that broker may be lost: rely on none of them.
    #[arg(long, requires = "to")]
    again: bool,
    /// The most bytes; what does not fit goes into the next file for the same broker.
    #[arg(long, value_name = "BYTES", default_value_t = MAX_BUNDLE_BYTES)]
    budget: u64,
    /// For how long the file may be on its way.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = Duration::read)]
    ttl: Duration,
    #[command(flatten)]
    connect: ConnectArgs,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

/// Brings files to a broker; whoever does so vouches for where they came from
#[derive(Args, Debug)]
struct ImportArgs {
    /// The files, in any order; one may be brought twice.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    connect: ConnectArgs,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

impl BundleArgs {
    /// Exports or imports.
    ///
    /// # Errors
    /// If a file cannot be read or written, there is no answer, or the broker refuses.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match &self.what {
            What::Export(args) => args.run(),
            What::Import(args) => args.run(),
        }
    }
}

impl ExportArgs {
    fn run(&self) -> Result<(), Failure> {
        let ttl_s = u32::try_from(self.ttl.as_secs()).unwrap_or(u32::MAX);
        let request = BundleRequest { to: self.to, budget_bytes: self.budget, ttl_s, again: self.again };
        service::block_on(async {
            let mut client = Client::connect(&self.connect).await?;
            let made = client.make_bundle(request).await?;
            let mut fragments = Vec::new();
            for index in 0..made.fragments {
                fragments.push(client.fragment(index).await?);
            }
            client.close().await;
            carry::write(&self.file, &fragments)?;
            let file = self.file.display();
            if self.json {
                return show::print_json(&json!({
                    "file": file.to_string(),
                    "fragments": made.fragments,
                    "bytes": made.bytes,
                    "whole": made.whole,
                }));
            }
            let rest = if made.whole { "" } else { "; there is more: export again for the rest" };
            show::print(&format!("{} bytes in {} fragments written to {file}{rest}\n", made.bytes, made.fragments))
        })
    }
}

impl ImportArgs {
    fn run(&self) -> Result<(), Failure> {
        // All are read before anything is asked of a broker, so that a wrong file changes nothing.
        let files = self.files.iter().map(|file| read(file)).collect::<Result<Vec<_>, Failure>>()?;
        service::block_on(async {
            let mut client = Client::connect(&self.connect).await?;
            let mut bundles: BTreeMap<String, Taken> = BTreeMap::new();
            for (file, fragments) in self.files.iter().zip(files) {
                for fragment in fragments {
                    let taken = client.take_fragment(fragment).await;
                    let taken = taken.with_context(|| format!("cannot import {}", file.display()))?;
                    bundles.insert(taken.bundle.clone(), taken);
                }
            }
            client.close().await;
            if self.json {
                let bundles = bundles.values().map(|taken| {
                    json!({
                        "bundle": taken.bundle,
                        "applied": taken.applied,
                        "fragments": taken.fragments,
                        "claimed": taken.claimed,
                    })
                });
                return show::print_json(&json!({ "bundles": bundles.collect::<Vec<_>>() }));
            }
            let lines = bundles.values().map(|taken| {
                let Taken { bundle, applied, fragments, claimed } = taken;
                let state = if *claimed { "complete" } else { "waiting for the rest, or for an earlier bundle" };
                format!("bundle {bundle}: {applied} of {fragments} fragments, {state}\n")
            });
            show::print(&lines.collect::<String>())
        })
    }
}

fn read(file: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let fragments = carry::split(&bytes).with_context(|| format!("cannot read {}", file.display()))?;
    if fragments.is_empty() {
        return Err(anyhow!("{} holds no bundle", file.display()).into());
    }
    Ok(fragments.into_iter().map(<[u8]>::to_vec).collect())
}

const EXAMPLES: &str = "\
Examples:
  reconvene bundle export north.bundle
  reconvene bundle export south.bundle --to 7f3c09e1b2a4d5867f3c09e1b2a4d586 --connect 10.0.0.7:7400
  reconvene bundle import north.bundle south.bundle --json";

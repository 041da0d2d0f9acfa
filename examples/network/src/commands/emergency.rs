//! `reconvene emergency`: declarations, with level, scope and expiry.

use std::time::Duration;

use clap::{Args, Subcommand};
use reconvene_broker::{Command, EmergencyView, Reply};
use reconvene_executor::EmergencyId;
use serde_json::{Value, json};

use crate::{
    client::{self, ConnectArgs},
    config::Plain as _,
    exit::Failure,
    show,
};

/// Declares, revokes and lists emergencies; every broker of the network hears of them at once
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EmergencyArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Declare(DeclareArgs),
    Revoke(RevokeArgs),
    List(ListArgs),
}

/// Declares an emergency
#[derive(Args, Debug)]
struct DeclareArgs {
    /// How urgent it is, 1 to 200.
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(1..=200))]
    level: u8,
    /// The region it covers, with all that lies below [default: everywhere].
    #[arg(long, value_name = "REGION", default_value = "", hide_default_value = true)]
    scope: String,
    /// How long it stands [default: what the broker says, 1h].
    #[arg(long = "for", value_name = "DURATION", value_parser = Duration::read)]
    time: Option<Duration>,
    #[command(flatten)]
    connect: ConnectArgs,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

/// Ends an emergency before its time
#[derive(Args, Debug)]
struct RevokeArgs {
    /// The emergency, as `declare` and `list` print it.
    #[arg(value_name = "ID")]
    id: EmergencyId,
    #[command(flatten)]
    connect: ConnectArgs,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

/// Lists the emergencies that a broker knows
#[derive(Args, Debug)]
struct ListArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

impl EmergencyArgs {
    /// Declares, revokes or lists.
    ///
    /// # Errors
    /// If there is no answer, or the broker refuses.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match &self.what {
            What::Declare(args) => args.run(),
            What::Revoke(args) => args.run(),
            What::List(args) => args.run(),
        }
    }
}

impl DeclareArgs {
    fn run(&self) -> Result<(), Failure> {
        let lifetime_ms = match self.time {
            // Zero means that nobody said.
            Some(time) if time.as_millis() == 0 => {
                return Err(Failure::usage("invalid value for '--for <DURATION>': an emergency stands for a while"));
            }
            Some(time) => u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            None => 0,
        };
        let command = Command::DeclareEmergency { level: self.level, region: self.scope.clone(), lifetime_ms };
        client::ask(&self.connect, command, |reply| {
            let Reply::EmergencyDeclared { id } = reply else { return None };
            Some(if self.json {
                show::print_json(&json!({"id": id.to_string(), "level": self.level, "scope": self.scope}))
            } else {
                show::print(&format!("{id}\n"))
            })
        })
    }
}

impl RevokeArgs {
    fn run(&self) -> Result<(), Failure> {
        client::ask(&self.connect, Command::RevokeEmergency { id: self.id }, |reply| {
            let Reply::EmergencyRevoked { id } = reply else { return None };
            Some(if self.json {
                show::print_json(&json!({"id": id.to_string(), "revoked": true}))
            } else {
                show::print(&format!("revoked {id}\n"))
            })
        })
    }
}

impl ListArgs {
    fn run(&self) -> Result<(), Failure> {
        client::ask(&self.connect, Command::Emergencies, |reply| {
            let Reply::Emergencies(emergencies) = reply else { return None };
            Some(if self.json {
                show::print_json(&json!({"emergencies": emergencies.iter().map(to_json).collect::<Vec<_>>()}))
            } else {
                show::print(&to_text(&emergencies))
            })
        })
    }
}

fn to_json(emergency: &EmergencyView) -> Value {
    json!({
        "id": emergency.id.to_string(),
        "level": emergency.level,
        "scope": emergency.region,
        "declared_ms": emergency.issued.as_millis(),
        "expires_ms": emergency.expires.as_millis(),
        "state": state(emergency),
    })
}

fn to_text(emergencies: &[EmergencyView]) -> String {
    let mut table = show::table(&["EMERGENCY", "LEVEL", "SCOPE", "STATE"]);
    for emergency in emergencies {
        let scope = if emergency.region.is_empty() {
            "everywhere".to_owned()
        } else {
            show::shown(emergency.region.as_bytes())
        };
        table.add_row(vec![emergency.id.to_string(), emergency.level.to_string(), scope, state(emergency).to_owned()]);
    }
    show::text_of(&table)
}

const fn state(emergency: &EmergencyView) -> &'static str {
    if emergency.revoked {
        "revoked"
    } else if emergency.in_force {
        "in force"
    } else {
        "expired"
    }
}

const EXAMPLES: &str = "\
Examples:
  reconvene emergency declare --level 100
  reconvene emergency declare --level 200 --scope city/north --for 30m --json
  reconvene emergency list
  reconvene emergency revoke 3f9a0c11d2e4b587-1 --connect 10.0.0.8:7400";

//! What clients ask for.

use reconvene_executor::{EmergencyId, JobId, JobSpec, limits};
use reconvene_sync::Ticket;

use crate::command::PAGE_JOBS;
use crate::coordinator::outbox::Effect;
use crate::coordinator::policies::InForce;
use crate::coordinator::{Coordinator, number};
use crate::event::StormEnd;
use crate::fact::{CancelFact, EmergencyFact, SpecFact};
use crate::statistics::count;
use crate::{Command, CommandError, EventKind, Fact, FactKey, Reply};

impl Coordinator {
    pub(super) fn command(&mut self, ticket: Ticket, command: Command) {
        let reply = match command {
            Command::Submit { spec } => self.submit(spec),
            Command::DeclareEmergency { level, region, lifetime_ms } => {
                self.declare_emergency(level, region, lifetime_ms)
            }
            Command::RevokeEmergency { id } => self.revoke_emergency(id),
            Command::Cancel { job } => self.cancel(job),
            Command::Release { job } => self.release_command(job),
            Command::SetPolicy { canonical, issuer_rank } => self.set_policy(&canonical, issuer_rank),
            Command::Repin { job, policy, issuer_rank } => self.repin(job, policy, issuer_rank),
            Command::Policy => Ok(Reply::Policy(Box::new(self.policy_view()))),
            Command::PublishData { name, hash, size } => self.publish_data(&name, hash, size),
            Command::WithdrawData { name } => self.withdraw_data(&name),
            Command::Locate { name } => self.locate_command(&name),
            Command::RetireMember { node, even_if_heard } => self.retire_member(node, even_if_heard),
            Command::EndStormGuard => Ok(Reply::StormGuardEnded { was_on: self.end_storm(StormEnd::Operator) }),
            Command::Job { job } => {
                let view = self.job(job).ok_or_else(|| self.unknown_job(job));
                view.map(|view| Reply::Job(Box::new(view)))
            }
            Command::Explain { of } => self.explain(of).map(|explanation| Reply::Explanation(Box::new(explanation))),
            Command::Jobs { after, limit } => Ok(self.page(after, limit)),
            Command::Executors => Ok(Reply::Executors(self.executors().collect())),
            Command::Emergencies => Ok(Reply::Emergencies(self.emergencies().collect())),
            Command::Statistics => Ok(Reply::Statistics(Box::new(self.statistics()))),
        };
        self.outbox.effect(Effect::Reply { ticket, reply });
    }

    fn page(&self, after: Option<JobId>, limit: usize) -> Reply {
        let limit = limit.min(PAGE_JOBS);
        let mut jobs: Vec<_> = self.view.jobs_after(after).take(limit.saturating_add(1)).collect();
        let more = jobs.len() > limit;
        jobs.truncate(limit);
        let jobs = jobs.into_iter().map(|job| self.show(job, false));
        Reply::Jobs { jobs: jobs.collect(), more }
    }

    fn submit(&mut self, spec: JobSpec) -> Result<Reply, CommandError> {
        spec.validate()?;
        if let Some(job) = self.view.job_of_client(&spec.client, spec.client_key) {
            count(&mut self.statistics.repeated_submits);
            return Ok(Reply::Submitted { job });
        }
        if let Some(deadline) = spec.deadline.filter(|deadline| *deadline < self.at.wall) {
            let expected = format!("not before {}", self.at.wall);
            return Err(CommandError::Spec { field: "deadline".to_owned(), value: deadline.to_string(), expected });
        }
        if self.view.open_count(self.own.replica) >= self.config.max_jobs {
            let retry_after_ms = self.config.place_after_ms;
            return Err(CommandError::Busy { what: "the number of unfinished jobs".to_owned(), retry_after_ms });
        }
        let exhausted = || CommandError::out_of_range("the number of jobs admitted here", u64::MAX, "less");
        self.last_job = self.last_job.checked_add(1).ok_or_else(exhausted)?;
        let job = JobId::new(self.own.replica, self.last_job);
        let InForce { id: policy, policy: rules, .. } = self.in_force.clone();
        self.define(policy, &rules);
        let reappearance = spec.reappearance.unwrap_or(self.config.reappearance);
        let fact = SpecFact { spec, submitted: self.next_stamp(), height: self.next_height(), policy, reappearance };
        count(&mut self.statistics.submitted);
        self.write(FactKey::Spec(job), Fact::Spec(Box::new(fact)));
        self.notify(EventKind::JobAdmitted { job, policy });
        Ok(Reply::Submitted { job })
    }

    fn cancel(&mut self, id: JobId) -> Result<Reply, CommandError> {
        let job = self.view.job(id).filter(|job| job.spec.is_some()).ok_or_else(|| self.unknown_job(id))?;
        let named = job.canonical().or_else(|| job.accepted().find(|(_, fact)| fact.success).map(|(id, _)| id));
        if let Some(canonical) = named {
            return Ok(Reply::TooLate { job: id, canonical });
        }
        if !job.is_cancelled() {
            let at = self.next_stamp();
            count(&mut self.statistics.cancelled);
            self.write(FactKey::Cancel { job: id, by: self.own.replica }, Fact::Cancel(CancelFact { at }));
            self.notify(EventKind::JobCancelled { job: id });
        }
        Ok(Reply::Cancelled { job: id })
    }

    fn declare_emergency(&mut self, level: u8, region: String, lifetime_ms: u64) -> Result<Reply, CommandError> {
        if !(1..=200).contains(&level) {
            return Err(CommandError::out_of_range("the level", level, "1 to 200"));
        }
        if level > self.config.max_emergency_level {
            return Err(CommandError::NotAuthorised);
        }
        if region.len() > limits::REGION_BYTES {
            let expected = format!("at most {} bytes", limits::REGION_BYTES);
            return Err(CommandError::out_of_range("the region", format!("{} bytes long", region.len()), expected));
        }
        let lifetime_ms = if lifetime_ms == 0 { self.config.emergency_default_ms } else { lifetime_ms };
        if lifetime_ms > self.config.emergency_max_ms {
            let expected = format!("at most {} ms", self.config.emergency_max_ms);
            return Err(CommandError::out_of_range("the lifetime", format!("{lifetime_ms} ms"), expected));
        }
        self.check_rate()?;
        let exhausted = || CommandError::out_of_range("the number of emergencies declared here", u64::MAX, "less");
        self.last_emergency = self.last_emergency.checked_add(1).ok_or_else(exhausted)?;
        let id = EmergencyId { declared_by: self.own.replica, number: self.last_emergency };
        let issued = self.at.wall;
        let expires = issued.saturating_add(lifetime_ms);
        let fact = EmergencyFact { revision: 1, revoked: false, level, region, issued, expires };
        count(&mut self.statistics.emergencies_declared);
        self.write(FactKey::Emergency { id, by: self.own.replica }, Fact::Emergency(fact));
        Ok(Reply::EmergencyDeclared { id })
    }

    /// Urgent facts go ahead of everything, so nobody may write them without end.
    fn check_rate(&mut self) -> Result<(), CommandError> {
        while let Some(oldest) = self.declared.front().copied() {
            let age_ms = self.at.mono.saturating_since(oldest);
            if age_ms < MINUTE_MS {
                let limit = u64::from(self.config.emergencies_per_minute);
                if number(self.declared.len()) >= limit {
                    let retry_after_ms = MINUTE_MS.saturating_sub(age_ms);
                    let what = "the number of emergencies declared in a minute".to_owned();
                    return Err(CommandError::Busy { what, retry_after_ms });
                }
                break;
            }
            self.declared.pop_front();
        }
        self.declared.push_back(self.at.mono);
        Ok(())
    }

    fn revoke_emergency(&mut self, id: EmergencyId) -> Result<Reply, CommandError> {
        let known = self.view.emergency(id).ok_or(CommandError::UnknownEmergency { id })?;
        if !known.revoked {
            let exhausted = || CommandError::out_of_range("the revision of the emergency", u64::MAX, "less");
            let revision = known.revision.checked_add(1).ok_or_else(exhausted)?;
            let fact = EmergencyFact { revision, revoked: true, ..known.clone() };
            count(&mut self.statistics.emergencies_revoked);
            self.write(FactKey::Emergency { id, by: self.own.replica }, Fact::Emergency(fact));
        }
        Ok(Reply::EmergencyRevoked { id })
    }
}

const MINUTE_MS: u64 = 60_000;

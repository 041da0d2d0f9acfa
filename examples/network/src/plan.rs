//! Execution plans: files of jobs.

use std::time::Duration;

use reconvene_clock::WallTime;
use reconvene_executor::{JobSpec, Resources, Tag, TraceJob};

use crate::config::{Document, Plain, Table};

/// Reads the jobs of a plan: `[[job]]` tables, or one job alone at the top. Deadlines count from `now`.
///
/// # Errors
/// The line of the first mistake; nothing is half a plan.
pub(crate) fn read(document: &Document, now: WallTime) -> anyhow::Result<Vec<JobSpec>> {
    let mut top = document.parse()?;
    let Some(jobs) = top.take("job") else {
        return if top.is_empty() {
            Err(top.error("there is no job in it; a job begins with [[job]] and needs at least `run = \"2s\"`"))
        } else {
            Ok(vec![job(top, now)?])
        };
    };
    top.finish()?;
    jobs.items().into_iter().map(|item| job(item.table()?, now)).collect()
}

fn job(mut table: Table<'_>, now: WallTime) -> anyhow::Result<JobSpec> {
    let Some(run) = value::<Duration>(&mut table, "run")? else {
        return Err(table.error("a job needs `run`, how long it takes, such as \"2s\""));
    };
    let run_ms = millis(run);
    let input: Option<String> = match table.take("input") {
        Some(input) => Some(input.text()?),
        None => None,
    };
    let varies = value(&mut table, "varies")?.unwrap_or(false);
    let payload = TraceJob { run_ms, input: input.unwrap_or_default().into_bytes(), varies }
        .encode()
        .map_err(|error| table.error(format_args!("`input` is too long: {error}")))?;

    let mut spec = JobSpec::new(payload);
    spec.estimate_ms = value(&mut table, "estimate")?.map_or(run_ms, millis);
    spec.priority = value(&mut table, "priority")?.unwrap_or(spec.priority);
    spec.value = value(&mut table, "value")?.unwrap_or(spec.value);
    let Resources { cpu_milli, memory_mib, gpu_milli } = spec.demand;
    spec.demand = Resources {
        cpu_milli: value(&mut table, "cpu")?.unwrap_or(cpu_milli),
        memory_mib: value(&mut table, "memory")?.unwrap_or(memory_mib),
        gpu_milli: value(&mut table, "gpu")?.unwrap_or(gpu_milli),
    };
    spec.work_core_ms =
        u64::try_from(u128::from(spec.estimate_ms).saturating_mul(spec.demand.cpu_milli.into()).div_euclid(1_000))
            .unwrap_or(u64::MAX);
    spec.deadline = value(&mut table, "deadline")?.map(|after| now.saturating_add(millis(after)));
    if let Some(tags) = table.take("tags") {
        for tag in tags.items() {
            spec.requires.insert(tag.parse(Tag::read)?);
        }
    }
    if let Some(region) = table.take("region") {
        spec.region = region.text()?;
    }
    spec.fenced = value(&mut table, "fenced")?.unwrap_or(false);
    let client: Option<String> = value(&mut table, "client")?;
    let key: Option<u64> = value(&mut table, "key")?;
    match (client, key) {
        (Some(client), Some(key)) => {
            spec.client = client;
            spec.client_key = key;
        }
        (None, None) => {}
        (Some(_), None) | (None, Some(_)) => {
            return Err(table.error(
                "`client` and `key` belong together: a client's jobs with the same key are one job, submitted again",
            ));
        }
    }
    spec.validate().map_err(|error| table.error(error))?;
    table.finish()?;
    Ok(spec)
}

fn value<T: Plain>(table: &mut Table<'_>, key: &str) -> anyhow::Result<Option<T>> {
    table.take(key).map(|value| value.parse(T::read)).transpose()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallTime = WallTime::from_millis(1_000_000);

    fn read_text(text: &str) -> anyhow::Result<Vec<JobSpec>> {
        read(&Document::of("plan.toml", text), NOW)
    }

    #[test]
    fn a_plan_has_every_field_of_a_job() {
        let specs = read_text(
            "[[job]]\nrun = \"2s\"\n\n[[job]]\nrun = \"90s\"\ninput = \"frame 12\"\nvaries = true\npriority = 200\n\
             deadline = \"10m\"\ntags = [\"b\", \"a\"]\ncpu = 2000\nmemory = 512\ngpu = 500\nvalue = 7\n\
             client = \"studio\"\nkey = 12\nregion = \"north/harbour\"\nfenced = true\nestimate = \"100s\"\n",
        )
        .unwrap();
        let plain = TraceJob { run_ms: 2_000, input: Vec::new(), varies: false };
        let expected = JobSpec::new(plain.encode().unwrap()).with_estimate_ms(2_000).with_work_core_ms(2_000);
        assert_eq!(specs[0], expected);
        let payload = TraceJob { run_ms: 90_000, input: b"frame 12".to_vec(), varies: true }.encode().unwrap();
        let expected = JobSpec::new(payload)
            .with_priority(200)
            .with_deadline(WallTime::from_millis(1_600_000))
            .with_tag(Tag::new("a").unwrap())
            .with_tag(Tag::new("b").unwrap())
            .with_demand(Resources::new(2_000, 512, 500))
            .with_value(7)
            .with_client("studio", 12)
            .with_region("north/harbour")
            .with_fenced(true)
            .with_estimate_ms(100_000)
            .with_work_core_ms(200_000);
        assert_eq!(specs[1..], [expected]);
    }

    #[test]
    fn one_job_needs_no_heading() {
        let alone = read_text("run = \"1s\"\npriority = 3\n").unwrap();
        assert_eq!(alone, read_text("[[job]]\nrun = \"1s\"\npriority = 3\n").unwrap());
        assert_eq!(alone.len(), 1);
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, expected) in [
            ("", "plan.toml, line 1: there is no job in it"),
            ("[[job]]\npriority = 3\n", "plan.toml, line 1: a job needs `run`"),
            ("[[job]]\nrun = \"1s\"\n\n[[job]]\nrun = \"1s\"\npriorty = 1\n", "line 6: unknown key `priorty` in [job]"),
            ("[[job]]\nrun = \"soon\"\n", "plan.toml, line 2: `run`: `soon` cannot be used"),
            (
                "run = \"1s\"\npriority = 256\n",
                "line 2: `priority`: `256` cannot be used: expected a whole number from 0 to 255",
            ),
            ("run = \"1s\"\nvalue = 0\n", "value is 0"),
            ("run = \"1s\"\ntags = [\n\"ok\",\n\"No\"]\n", "line 4: `tags`: `No`"),
            ("run = \"1s\"\nclient = \"a\"\n", "`client` and `key` belong together"),
            ("job = 3\n", "line 1: `job`: expected a table"),
            ("job = []\nrun = \"1s\"\n", "line 2: unknown key `run`"),
            ("[[job]]\nrun = \"1s\"\nrun = \"2s\"\n", "plan.toml, line 3: "),
        ] {
            let error = read_text(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
        let long = format!("run = \"1s\"\ninput = \"{}\"\n", "x".repeat(300_000));
        assert!(read_text(&long).unwrap_err().to_string().contains("payload bytes"));
    }
}

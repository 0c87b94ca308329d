//! A plan for people: no more than a screen for a typical node.

use std::time::Duration;

use super::super::text::{Align, Table, fields, roughly};
use super::compare::{DescriptorView, Fate, Plan, RegionFate, TablePlan, WayBack};

impl Plan {
    /// With its line ends.
    pub(in crate::cli) fn shown(&self) -> String {
        let owner = &self.serving;
        let mut out = format!(
            "Plan for {}: process {} (build {}) serves, CMD is build {}\n",
            self.node, owner.pid, owner.build_id, self.build_id
        );
        if !self.tables.is_empty() {
            out += &self.tables();
        }
        out += &fields(&self.facts());
        for refusal in self.tables.iter().filter_map(|table| table.refusal.as_ref()) {
            out += "\n";
            for line in refusal.lines() {
                out += format!("  {line}").trim_end();
                out += "\n";
            }
        }
        out
    }

    /// What decided, in one sentence without a full stop.
    pub(in crate::cli) fn verdict_in_words(&self) -> String {
        let refused: Vec<&TablePlan> = self.tables.iter().filter(|t| t.fate == Fate::Refused).collect();
        match (&self.refusals[..], &refused[..], self.way_back) {
            ([why, ..], ..) => format!("CMD would be refused: {why}"),
            ([], [table], _) => format!("CMD would be refused: it cannot open {}", name(table)),
            ([], [table, ..], _) => format!(
                "CMD would be refused: it cannot open {} and {} more",
                name(table),
                refused.len() - 1
            ),
            ([], [], WayBack::No) => "there is no way back after cutover".into(),
            ([], [], WayBack::Unknown) => match self.unknown.first() {
                Some(why) => format!("it is not known whether there is a way back: {why}"),
                None => "it is not known whether there is a way back".into(),
            },
            ([], [], WayBack::Yes) => "there is a way back while the old version is parked".into(),
            ([], [], WayBack::NotNeeded) => "nothing migrates: the old version finds all as it knows it".into(),
        }
    }

    fn tables(&self) -> String {
        let mut table = Table::new([
            ("TABLE", Align::Left),
            ("KIND", Align::Left),
            ("WHAT", Align::Left),
            ("RECORDS", Align::Right),
            ("TO MIGRATE", Align::Right),
            ("SWEEP", Align::Right),
            ("WAY BACK", Align::Left),
        ]);
        for row in &self.tables {
            let is_there = row.fate != Fate::New;
            let migrates = row.to_migrate > 0 && row.fate != Fate::Refused;
            let if_some = |text: String| if migrates { text } else { "-".into() };
            table.row([
                name(row),
                row.kind.unwrap_or("unknown").into(),
                what(row),
                if is_there { row.records.to_string() } else { "-".into() },
                if_some(row.to_migrate.to_string()),
                if_some(roughly(Duration::from_millis(row.sweep_ms))),
                match row.way_back {
                    WayBack::Yes => "yes",
                    WayBack::No => "none",
                    WayBack::NotNeeded | WayBack::Unknown => "-",
                }
                .into(),
            ]);
        }
        table.render(2)
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        let of = |fate| -> Vec<&str> {
            let found = self.regions.iter().filter(|region| region.fate == fate);
            found.map(|region| region.region.as_str()).collect()
        };
        let regions = [
            ("kept", of(RegionFate::Kept)),
            ("new", of(RegionFate::New)),
            ("closed, for CMD does not declare them:", of(RegionFate::Orphaned)),
        ];
        if !self.regions.is_empty() {
            facts.push(("regions", listed(&regions)));
        }
        let names = |names: &[String]| -> Vec<String> { names.iter().map(|name| self.addressed(name)).collect() };
        let plan = &self.descriptors;
        let declared = |names: &[DescriptorView]| names.iter().map(|view| view.name.clone()).collect::<Vec<_>>();
        let groups = [
            ("kept", plan.kept.clone()),
            ("new", names(&plan.new)),
            ("changed", names(&plan.changed)),
            ("dropped, unless CMD claims them:", plan.dropped.clone()),
        ];
        if !plan.known && !plan.declared.is_empty() {
            let all = declared(&plan.declared).join(", ");
            facts.push((
                "descriptors",
                format!(
                    "CMD declares {all}; not all that process {} has is known",
                    self.serving.pid
                ),
            ));
        } else if groups.iter().any(|(_, names)| !names.is_empty()) {
            facts.push(("descriptors", listed(&groups)));
        }
        for unknown in &self.unknown {
            facts.push(("unknown", unknown.clone()));
        }
        for refusal in &self.refusals {
            facts.push(("refused", refusal.clone()));
        }
        facts.push(("result", self.verdict_in_words()));
        facts
    }

    /// A descriptor with its address.
    fn addressed(&self, name: &str) -> String {
        let view = self.descriptors.declared.iter().find(|view| view.name == name);
        match view.and_then(|view| view.address.as_ref()) {
            Some(address) => format!("{name} ({address})"),
            None => name.into(),
        }
    }
}

fn name(table: &TablePlan) -> String {
    format!("{}/{}", table.region, table.table)
}

fn what(table: &TablePlan) -> String {
    let to = table.to_version.unwrap_or_default();
    match table.fate {
        Fate::Unchanged => "unchanged".into(),
        Fate::Migrated => {
            let from: Vec<String> = table.from_versions.iter().map(u16::to_string).collect();
            format!("migrates {} -> {to}", from.join(", "))
        }
        Fate::Moved if table.moves_to.is_empty() => "given up".into(),
        Fate::Moved => format!("moves to {}", table.moves_to.join(", ")),
        Fate::New => "new".into(),
        Fate::Orphaned => "orphaned".into(),
        Fate::Refused => "refused".into(),
    }
}

/// As `kept a, b; new c`.
fn listed<T: AsRef<str>>(groups: &[(&str, Vec<T>)]) -> String {
    let groups = groups.iter().filter(|(_, names)| !names.is_empty());
    let groups: Vec<String> = groups
        .map(|(word, names)| {
            let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
            format!("{word} {}", names.join(", "))
        })
        .collect();
    groups.join("; ")
}

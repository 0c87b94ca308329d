//! Arguments of the commands that look into what regions hold, and their texts.

use clap::Args as Group;

use super::Place;

/// Records of a table that `diff` shows unless `--limit` says otherwise.
const DEFAULT_RECORDS: &str = "20";

const SCHEMA: &str = "\
Examples:
  handover schema arena/world                  what the tables of a region hold, byte by byte
  handover schema arena/world players --rust   Rust types that would read the records of one
  handover schema /var/backups/world.ckpt      the same of a checkpoint

Exit codes:
  0  done
  2  wrong usage
  4  there is no such region or table, or it cannot be read";

const DUMP: &str = "\
Examples:
  handover dump arena/world                            all tables, a record a line
  handover dump arena/world players --key 7            one record
  handover dump arena/world players --where alive=true --where home.x>=10 --limit 5
  handover dump arena/world players --where mood=Angry --csv > angry.csv
  handover dump arena/world --ndjson | jq 'select(.table == \"players\")'
  handover dump ./world.ckpt players --json            from a checkpoint

Keys are typed as they are printed: 7, ada, [3,\"ada\"], bytes also as 0x01ff; records of slabs,
timers and streams have ids, those of queues serial numbers. A condition compares a number, a string,
true, a char or the name of a variant; fields of fields are written a.b; null is what is not there.

Each record is printed as it was committed at some moment; the owner is not disturbed. Numbers that
are not finite are null in JSON, maps whose keys are no strings or numbers are lists of pairs.

Exit codes:
  0  done
  1  no record has the key
  2  wrong usage: also a key or a condition that the table cannot have
  4  there is no such region or table, or not all records could be read";

const DIFF: &str = "\
Examples:
  handover diff ./monday.ckpt ./tuesday.ckpt
  handover diff ./before.ckpt arena/world --table players --limit 100
  handover diff blue/world green/world --json

Records are compared by key, id or serial number. A region that is written meanwhile is compared record
by record, each as it was committed at some moment.

Exit codes:
  0  no difference
  1  there are differences
  2  wrong usage
  4  there is no such region or table, or not all of it could be read";

/// Show what the tables of a region hold: the shape of keys and records.
#[derive(Debug, Group)]
#[command(after_help = SCHEMA)]
pub(in crate::cli) struct Schema {
    /// NODE/REGION, the region's name in /dev/shm, or the path of a checkpoint.
    pub(in crate::cli) region: String,

    /// Only this table.
    pub(in crate::cli) table: Option<String>,

    #[command(flatten)]
    pub(in crate::cli) place: Place,

    /// Also the library's own tables, whose names begin with a dot.
    #[arg(long, conflicts_with = "table")]
    pub(in crate::cli) all: bool,

    /// Print Rust types that would read the records.
    #[arg(long)]
    pub(in crate::cli) rust: bool,

    /// Print JSON.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// Print the records of a region or a checkpoint, without the program's types.
#[derive(Debug, Group)]
#[command(after_help = DUMP)]
pub(in crate::cli) struct Dump {
    /// NODE/REGION, the region's name in /dev/shm, or the path of a checkpoint.
    pub(in crate::cli) region: String,

    /// Only this table.
    #[arg(required_if_eq("csv", "true"))]
    pub(in crate::cli) table: Option<String>,

    #[command(flatten)]
    pub(in crate::cli) place: Place,

    /// Also the library's own tables, whose names begin with a dot.
    #[arg(long, conflicts_with = "table")]
    pub(in crate::cli) all: bool,

    /// Only the record with this key, id or serial number.
    #[arg(long, value_name = "K", requires = "table", allow_hyphen_values = true)]
    pub(in crate::cli) key: Option<String>,

    /// Only records with such a field; the signs are = != < <= > >=. Given several times, all must hold.
    #[arg(long = "where", value_name = "FIELD=VALUE", requires = "table")]
    pub(in crate::cli) conditions: Vec<String>,

    /// At most so many records of each table.
    #[arg(long, value_name = "N")]
    pub(in crate::cli) limit: Option<u64>,

    #[command(flatten)]
    pub(in crate::cli) form: Form,
}

/// How records are printed.
#[derive(Debug, Group)]
#[group(multiple = false)]
pub(in crate::cli) struct Form {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,

    /// Print one JSON object a line.
    #[arg(long)]
    ndjson: bool,

    /// Print CSV, of one table.
    #[arg(long)]
    csv: bool,
}

/// What [`Form`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Shown {
    Text,
    Json,
    Lines,
    Csv,
}

impl Form {
    pub(in crate::cli) fn shown(&self) -> Shown {
        match (self.json, self.ndjson, self.csv) {
            (true, ..) => Shown::Json,
            (_, true, _) => Shown::Lines,
            (.., true) => Shown::Csv,
            _ => Shown::Text,
        }
    }
}

/// Show what is other in B than in A: tables, shapes, records, fields.
#[derive(Debug, Group)]
#[command(after_help = DIFF)]
pub(in crate::cli) struct Diff {
    /// NODE/REGION, the region's name in /dev/shm, or the path of a checkpoint.
    pub(in crate::cli) a: String,

    /// What it is compared with, named likewise.
    pub(in crate::cli) b: String,

    /// Only this table.
    #[arg(long, value_name = "TABLE")]
    pub(in crate::cli) table: Option<String>,

    #[command(flatten)]
    pub(in crate::cli) place: Place,

    /// Also the library's own tables, whose names begin with a dot.
    #[arg(long, conflicts_with = "table")]
    pub(in crate::cli) all: bool,

    /// At most so many records of each table; the others are only counted.
    #[arg(long, value_name = "N", default_value = DEFAULT_RECORDS)]
    pub(in crate::cli) limit: usize,

    /// Print JSON.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

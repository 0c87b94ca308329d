//! A player, in the shape that either version of the game gives it, and what the game asks of both.
//!
//! Two versions of a game would be two states of one file: the newer one keeps the older type, for [`Steps`]. Here both run from one crate, so
//! the rest of the server is written for any [`Player`].

use crate::protocol::{inventory_digest, words_digest};
use crate::server::world::{ArchivedItem, Item};
use rkyv::Archived;
use shmstate::{Declared, Map, OwnedValue, RecordMut, Region, Result, Steps, Tx};

/// The name of the table.
const TABLE: &str = "players";

pub(crate) mod v1 {
    use crate::server::world::Item;
    use rkyv::{Archive, Deserialize, Serialize};
    use shmstate::Schema;

    /// A player, connected or not.
    #[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug)]
    #[schema(version = 1)]
    pub(crate) struct Player {
        pub(crate) name: String,
        /// Last thing said.
        pub(crate) words: String,
        pub(crate) position: [i32; 2],
        pub(crate) score: u64,
        /// Ascending by kind.
        pub(crate) inventory: Vec<Item>,
        pub(crate) inventory_digest: u64,
        pub(crate) words_digest: u64,
        /// Last tick that a state frame told this player of.
        pub(crate) told: u64,
    }
}

pub(crate) mod v2 {
    use super::v1;
    use crate::server::world::Item;
    use rkyv::{Archive, Deserialize, Serialize};
    use shmstate::Schema;

    /// A player whose pickups are counted; what was called words is called said.
    #[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug)]
    #[schema(version = 2, from = v1::Player, back)]
    pub(crate) struct Player {
        pub(crate) name: String,
        #[schema(was = "words")]
        pub(crate) said: String,
        pub(crate) position: [i32; 2],
        pub(crate) score: u64,
        pub(crate) inventory: Vec<Item>,
        pub(crate) inventory_digest: u64,
        #[schema(was = "words_digest")]
        pub(crate) said_digest: u64,
        pub(crate) told: u64,
        /// Things picked up under this version.
        #[schema(default)]
        pub(crate) pickups: u64,
    }
}

/// A player of either version: where its fields are.
pub(crate) trait Player: OwnedValue {
    /// Whether this version keeps its tallies by guild.
    const GUILDS: bool;

    /// How a player of the version before becomes one of this version, and back.
    fn steps() -> Steps<Self>;

    /// The table, for the plan of an upgrade.
    fn declared() -> Declared {
        Declared::map::<u64, Self>(TABLE).steps(&Self::steps())
    }

    /// Finds the table, while another process may serve it.
    fn open(region: &Region) -> Result<Map<u64, Self>> {
        Map::open_migrating(region, TABLE, Self::steps())
    }

    /// Makes the table, or finds it.
    fn create(tx: &mut Tx<'_>) -> Result<Map<u64, Self>> {
        Map::open_or_create(tx, TABLE)
    }

    fn new(name: &str, told: u64) -> Self;

    fn position(player: &Self::Archived) -> &[Archived<i32>; 2];
    fn score(player: &Self::Archived) -> &Archived<u64>;
    fn inventory(player: &Self::Archived) -> &[ArchivedItem];
    fn inventory_digest(player: &Self::Archived) -> &Archived<u64>;
    fn words_digest(player: &Self::Archived) -> &Archived<u64>;
    fn told(player: &Self::Archived) -> &Archived<u64>;

    /// Takes the first of a kind of item.
    fn take(&mut self, kind: u16, score: u64);
    fn say(&mut self, words: &str);

    /// Counts something picked up, in a version that does.
    fn picked_up(_player: &mut RecordMut<'_, '_, Self>) -> Result<()> {
        Ok(())
    }
}

macro_rules! player {
    ($version:ident, $guilds:expr, $words:ident, $digest:ident, $steps:expr, { $($more:item)* }, { $($field:ident: $value:expr),* }) => {
        impl Player for $version::Player {
            const GUILDS: bool = $guilds;

            fn steps() -> Steps<Self> {
                $steps
            }

            fn new(name: &str, told: u64) -> Self {
                Self {
                    name: name.into(),
                    $words: String::new(),
                    position: [0, 0],
                    score: 0,
                    inventory: Vec::new(),
                    inventory_digest: inventory_digest([]),
                    $digest: words_digest(""),
                    told,
                    $($field: $value),*
                }
            }

            fn position(player: &Self::Archived) -> &[Archived<i32>; 2] {
                &player.position
            }

            fn score(player: &Self::Archived) -> &Archived<u64> {
                &player.score
            }

            fn inventory(player: &Self::Archived) -> &[ArchivedItem] {
                &player.inventory
            }

            fn inventory_digest(player: &Self::Archived) -> &Archived<u64> {
                &player.inventory_digest
            }

            fn words_digest(player: &Self::Archived) -> &Archived<u64> {
                &player.$digest
            }

            fn told(player: &Self::Archived) -> &Archived<u64> {
                &player.told
            }

            fn take(&mut self, kind: u16, score: u64) {
                let at = self.inventory.partition_point(|item| item.kind < kind);
                self.inventory.insert(at, Item { kind, count: 1 });
                self.inventory_digest = inventory_digest(self.inventory.iter().map(|item| (item.kind, item.count)));
                self.score = score;
            }

            fn say(&mut self, words: &str) {
                self.$words = words.into();
                self.$digest = words_digest(words);
            }

            $($more)*
        }
    };
}

player!(v1, false, words, words_digest, Steps::new(), {}, {});
player!(v2, true, said, said_digest, Steps::new().from::<v1::Player>().back::<v1::Player>(), {
    fn picked_up(player: &mut RecordMut<'_, '_, Self>) -> Result<()> {
        let pickups = player.pickups.to_native() + 1;
        player.set(|p| &p.pickups, pickups.into())
    }
}, { pickups: 0 });

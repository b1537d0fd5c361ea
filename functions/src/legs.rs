//! Legs on their way from one invocation to the next: what `broadcast` is invoked with. Nobody else sees them.

use functions_domain::{ConnectionId, InvalidMessageId, InvalidRoom, Leg, MessageId, Peer, Room};
use serde::{Deserialize, Serialize};

/// A [`Leg`] as JSON. At most 33 KB, and some 50 bytes for each connection by name, of the 1 MB that Lambda takes.
#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LegEvent {
    message_id: String,
    room: String,
    shard: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    /// Ids, and since when they have been remembered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    only: Vec<(String, u64)>,
    except: String,
    #[serde(default)]
    hops: u32,
    frame: String,
}

/// The event is none of ours. Does not repeat any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLeg {
    /// Of no room.
    #[error(transparent)]
    Room(#[from] InvalidRoom),
    /// Of no message.
    #[error(transparent)]
    Message(#[from] InvalidMessageId),
}

impl LegEvent {
    /// Returns the payload of an invocation.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a struct of texts and numbers serialises")
    }

    /// Returns the leg.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn into_leg(self) -> Result<Leg, InvalidLeg> {
        Ok(Leg {
            message: MessageId::parse(&self.message_id)?,
            room: Room::parse(&self.room)?,
            shard: self.shard,
            after: self.after.map(ConnectionId::new),
            only: self
                .only
                .into_iter()
                .map(|(id, connected_at)| Peer {
                    id: ConnectionId::new(id),
                    connected_at,
                })
                .collect(),
            except: ConnectionId::new(self.except),
            hops: self.hops,
            frame: self.frame,
        })
    }
}

impl From<&Leg> for LegEvent {
    fn from(leg: &Leg) -> Self {
        Self {
            message_id: leg.message.to_string(),
            room: leg.room.to_string(),
            shard: leg.shard,
            after: leg.after.as_ref().map(ToString::to_string),
            only: leg
                .only
                .iter()
                .map(|peer| (peer.id.to_string(), peer.connected_at))
                .collect(),
            except: leg.except.to_string(),
            hops: leg.hops,
            frame: leg.frame.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use functions_domain::testing::leg;

    use super::*;

    #[test]
    fn a_leg_arrives_as_it_left() {
        let mut leg = Leg {
            frame: "\"ü\"\n".to_owned(),
            ..leg("red", "c=")
        };
        for after in [None, Some(ConnectionId::new("d="))] {
            leg.after = after;
            leg.hops += 1;
            leg.only.push(Peer {
                id: ConnectionId::new("e="),
                connected_at: 7,
            });
            let event: LegEvent = serde_json::from_str(&LegEvent::from(&leg).to_json()).unwrap();
            assert_eq!(event.into_leg(), Ok(leg.clone()));
        }
    }

    #[test]
    fn what_is_no_leg_is_refused() {
        let good = LegEvent::from(&leg("red", "c="));
        let room = LegEvent {
            room: "no room".to_owned(),
            ..good.clone()
        };
        assert_eq!(room.into_leg(), Err(InvalidLeg::Room(InvalidRoom)));
        let message = LegEvent {
            message_id: String::new(),
            ..good
        };
        assert_eq!(message.into_leg(), Err(InvalidLeg::Message(InvalidMessageId)));
    }
}

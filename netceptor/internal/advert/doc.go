// Package advert keeps service advertisements, as a machine: our own and those
// of the mesh. Messages and times go in, effects come out.
//
// Each node repeats its own every Period. Of each service of each node the latest
// holds, by the time that its node gave it; relays pass its bytes on unchanged.
//
// What is done here otherwise than by legacy nodes:
//
//   - Ads that are not repeated for ExpireAfter are dropped.
//   - A new neighbour gets all ads heard lately at once.
//   - No ad is cancelled by us: a Cancel would circulate for ever in a mesh with a
//     cycle of legacy nodes. We send one more ad, without tags, that says Gone, which
//     is an ad as any other to legacy nodes. One of others, or a Cancel, is passed on
//     only if it ends an ad that we have, and remembered, so that no older copy brings
//     the ad back.
//   - Times may be at most MaxAhead in the future, and all tables are bounded.
package advert

// Package route is the routing of a node, as a machine: what it knows of all
// nodes, when it tells others, and over which neighbour each can be reached.
// Messages and times go in, effects come out.
//
// Every node floods updates about its own links: shortly after they change, and
// every FloodPeriod. Every node keeps the latest update of each origin, passes on
// what is news to it, and computes shortest paths of what it has.
//
// What is told here otherwise than by legacy nodes:
//
//   - No claim of others stops us. Who uses our ID in a way that mutes us is
//     answered with a fresh update of ours, more and more seldom.
//   - Who sends an outdated update is told the latest, at most once per origin and
//     AnswerInterval: so lies about a node reach it, wherever they began.
//   - A link counts only if both of its ends report it. So one node alone cannot
//     draw routes to itself, and what a dead node once said is of no effect.
//   - What a neighbour says about itself is taken from it alone. So nobody can
//     re-route or restart it in our eyes, and it hears at once of who tries.
//   - A SuspectedDuplicate is believed only from the elder of the two.
//   - What a node says that has a key is believed only with its signature, while
//     signed updates of it are heard.
//   - Epochs may be at most MaxAhead in the future, costs at most wire.MaxCost, and
//     all tables are bounded.
//   - A new neighbour is told at once of all nodes heard lately, and nodes not
//     heard for ForgetAfter are forgotten.
//   - Updates keep their originator's Ext on the way between our nodes.
package route

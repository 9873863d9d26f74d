// Package packet knows IP packets, alone and super: it cuts super-packets into packets
// and joins packets into super-packets, completes checksums, and gives the signals of
// a path's MTU. It is pure: bytes in, bytes out.
//
// A super-packet is many segments of one TCP flow, or many datagrams of one UDP flow,
// below one header, as Linux hands them to a device that cuts them itself (TSO, USO).
// A Header goes before each packet, alone or super, and says which it is; it comes from
// the device, or from another node, which may say anything. So everything that a header
// says is checked against its packet.
//
// What the formats are is said in RFC 791 (IPv4), 8200 (IPv6), 9293 (TCP), 768 (UDP),
// 792 and 1191 (ICMP), 4443 (ICMPv6), 1071 and 1624 (checksums), and, for Header, in
// include/uapi/linux/virtio_net.h.
package packet

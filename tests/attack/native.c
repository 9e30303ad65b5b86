// SPDX-License-Identifier: GPL-2.0-or-later
/* Test runs by the hundred thousand: BPF_PROG_TEST_RUN of one packet after another, without Python between them.
 * Everything is called by ctypes, which lets go of the interpreter's lock meanwhile; so two threads are two CPUs. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/bpf.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

enum { HOOK_TC, HOOK_XDP };
enum { NOTHING = -1, SEVERAL = -2, REFUSED = -3 }; /* instead of the number of an outcome */

/* One frame, and what became of it. */
struct packet {
	u8 *data;
	u8 *result;
	u32 length;
	u32 room; /* bytes at `result` */
	u32 hook;
	u32 ifindex;
	u32 mark;
	u32 left;    /* bytes of the result */
	int verdict; /* or -errno, if the kernel refused the run */
	int outcome;
	int watch;  /* number of the memory that the packet changed where it may not, -1: none */
	u32 offset; /* there, of the first such byte */
};

/* Memory that packets may change only where `mask` is zero. Whole words of 8 bytes. */
struct watch {
	u64 *now;
	u64 *before;
	u64 *mask;
	u64 words;
};

struct batch {
	int program[2]; /* by hook */
	int outcomes;   /* per-CPU array */
	u32 outcomes_count;
	u32 cpus;
	u32 watches;
	struct watch *watch;
	int cpu; /* whose outcomes count, while others are at work; -1: all */
};

static long bpf(int command, union bpf_attr *attr)
{
	return syscall(__NR_bpf, command, attr, sizeof(*attr));
}

static int test_run(int program, struct packet *packet)
{
	union bpf_attr attr;
	union {
		struct __sk_buff skb;
		struct xdp_md xdp;
	} context;

	memset(&context, 0, sizeof(context));
	memset(&attr, 0, sizeof(attr));
	if (packet->hook == HOOK_XDP) {
		context.xdp.data_end = packet->length;
		context.xdp.ingress_ifindex = packet->ifindex;
		attr.test.ctx_size_in = sizeof(context.xdp);
	} else {
		context.skb.ifindex = context.skb.ingress_ifindex = packet->ifindex;
		context.skb.mark = packet->mark;
		attr.test.ctx_size_in = sizeof(context.skb);
	}
	attr.test.prog_fd = program;
	attr.test.repeat = 1;
	attr.test.data_in = (u64)packet->data;
	attr.test.data_size_in = packet->length;
	attr.test.data_out = (u64)packet->result;
	attr.test.data_size_out = packet->room;
	attr.test.ctx_in = (u64)&context;
	if (bpf(BPF_PROG_TEST_RUN, &attr) && errno != ENOSPC) {
		packet->verdict = -errno;
		packet->left = 0;
		return -1;
	}
	packet->verdict = attr.test.retval;
	packet->left = attr.test.data_size_out;
	return 0;
}

enum { OUTCOMES_MOST = 64, CPUS_MOST = 1024 };
static __thread u64 counted[OUTCOMES_MOST * CPUS_MOST];

static int read_outcomes(const struct batch *batch, u64 *sums)
{
	u32 keys[OUTCOMES_MOST], cursor;
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.batch.out_batch = (u64)&cursor;
	attr.batch.keys = (u64)keys;
	attr.batch.values = (u64)counted;
	attr.batch.count = batch->outcomes_count;
	attr.batch.map_fd = batch->outcomes;
	if (bpf(BPF_MAP_LOOKUP_BATCH, &attr) && errno != ENOENT)
		return -1;
	for (u32 i = 0; i < batch->outcomes_count; i++) {
		sums[i] = 0;
		for (u32 cpu = 0; cpu < batch->cpus; cpu++)
			if (batch->cpu < 0 || batch->cpu == (int)cpu)
				sums[i] += counted[i * batch->cpus + cpu];
	}
	return 0;
}

static int which_moved(const struct batch *batch, const u64 *before, const u64 *after)
{
	int found = NOTHING;

	for (u32 i = 0; i < batch->outcomes_count; i++) {
		if (after[i] == before[i])
			continue;
		if (found != NOTHING || after[i] != before[i] + 1)
			return SEVERAL;
		found = i;
	}
	return found;
}

/* The first byte that changed where it may not; it counts once. */
static void look(const struct batch *batch, struct packet *packet)
{
	packet->watch = -1;
	for (u32 i = 0; i < batch->watches; i++) {
		struct watch *watch = &batch->watch[i];

		for (u64 word = 0; word < watch->words; word++) {
			u64 now = *(volatile u64 *)&watch->now[word];
			u64 changed = (now ^ watch->before[word]) & watch->mask[word];

			if (!changed)
				continue;
			watch->before[word] = now;
			if (packet->watch >= 0)
				continue;
			packet->watch = i;
			packet->offset = word * 8 + __builtin_ctzll(changed) / 8;
		}
	}
}

/* Runs every packet once and says of each what it did. 0, or -1 if the outcomes cannot be read. */
int run_batch(const struct batch *batch, struct packet *packets, u32 count)
{
	u64 sums[2][OUTCOMES_MOST];

	if (batch->outcomes_count > OUTCOMES_MOST || batch->cpus > CPUS_MOST || read_outcomes(batch, sums[0]))
		return -1;
	for (u32 i = 0; i < count; i++) {
		struct packet *packet = &packets[i];

		packet->outcome = REFUSED;
		packet->watch = -1;
		if (test_run(batch->program[packet->hook], packet))
			continue;
		if (read_outcomes(batch, sums[(i + 1) & 1]))
			return -1;
		packet->outcome = which_moved(batch, sums[i & 1], sums[(i + 1) & 1]);
		look(batch, packet);
	}
	return 0;
}

static int pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

static u64 next_random(u64 *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static double seconds(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

/* Runs packets drawn at random on one CPU until `*stop` or `runs` are done; how many were run, -1: the kernel refused. */
long race(int program, struct packet *packets, u32 count, u64 runs, int cpu, u64 seed, volatile u32 *stop)
{
	u64 state = seed * 0x9e3779b97f4a7c15ULL + 1, done;

	if (cpu >= 0 && pin_to(cpu))
		return -1;
	for (done = 0; done < runs && !*stop; done++)
		if (test_run(program, &packets[(next_random(&state) >> 20) % count]))
			return -1;
	return done;
}

static u32 sum16(const u8 *bytes, u32 length, u32 sum)
{
	for (; length > 1; bytes += 2, length -= 2)
		sum += bytes[0] << 8 | bytes[1];
	if (length)
		sum += bytes[0] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static void put16(u8 *at, u16 value)
{
	at[0] = value >> 8;
	at[1] = value;
}

static u32 crc_table[256];

u32 crc32c(const u8 *bytes, u32 length)
{
	u32 crc = ~0U;

	if (!crc_table[1])
		for (u32 i = 0; i < 256; i++) {
			u32 value = i;

			for (int bit = 0; bit < 8; bit++)
				value = value >> 1 ^ (value & 1 ? 0x82f63b78 : 0);
			crc_table[i] = value;
		}
	while (length--)
		crc = crc >> 8 ^ crc_table[(crc ^ *bytes++) & 255];
	return ~crc;
}

enum { L3 = 14, IPV4 = 20, IPV6 = 40 };

/* The frame's source address and port become others, and its checksums follow. IPv4 without options, IPv6 without headers. */
static void respell(u8 *frame, u32 length, u64 draw, u64 more)
{
	int six = frame[12] == 0x86;
	u8 *ip = frame + L3, *l4 = ip + (six ? IPV6 : IPV4);
	u8 protocol = six ? ip[6] : ip[9];
	u32 size = length - (l4 - frame), pseudo;

	if (six) {
		memcpy(ip + 8 + 8, &draw, 8); /* within the client's network */
		pseudo = sum16(ip + 8, 32, protocol + size);
	} else {
		ip[12] = 11 + (draw & 0xff) % 100;
		ip[13] = draw >> 8;
		ip[14] = draw >> 16;
		ip[15] = draw >> 24;
		put16(ip + 4, draw >> 32);
		put16(ip + 10, 0);
		put16(ip + 10, ~sum16(ip, IPV4, 0));
		pseudo = sum16(ip + 12, 8, protocol + size);
	}
	put16(l4, 1024 + more % 64000);
	if (protocol == 132) {
		u32 crc;

		memset(l4 + 8, 0, 4);
		crc = crc32c(l4, size);
		memcpy(l4 + 8, &crc, 4);
		return;
	}
	if (protocol == 6) {
		put16(l4 + 16, 0);
		put16(l4 + 16, ~sum16(l4, size, pseudo));
	} else {
		u16 sum;

		put16(l4 + 6, 0);
		sum = ~sum16(l4, size, pseudo);
		put16(l4 + 6, sum ? sum : 0xffff);
	}
}

/* A flood at `rate` packets a second (0: as many as go) of sources that nobody has; `count` kinds of packets in turns. Ends at
 * `*stop`, or after `runs`. `*sent` is kept up to date; the result is packets a second, -1: the kernel refused. */
double flood(int program, struct packet *packets, u32 count, u64 runs, double rate, int cpu, u64 seed,
	     volatile u32 *stop, volatile u64 *sent)
{
	u64 state = seed * 0x9e3779b97f4a7c15ULL + 1;
	double begin = seconds();

	if (cpu >= 0 && pin_to(cpu))
		return -1;
	for (*sent = 0; *sent < runs && !*stop; (*sent)++) {
		struct packet *packet = &packets[*sent % count];

		respell(packet->data, packet->length, next_random(&state), next_random(&state) >> 13);
		if (test_run(program, packet))
			return -1;
		if (rate && !(*sent & 63)) {
			double ahead = *sent / rate - (seconds() - begin);

			if (ahead > 0.0005)
				usleep(ahead * 1e6);
		}
	}
	return *sent / (seconds() - begin);
}

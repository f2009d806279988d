/*
 * Stands in for ubusd and netifd: answers "network.interface dump" on a unix socket as they do, and
 * sends events to whoever registered for them; the messages made by libubox.
 *
 *     netifd SOCKET FILE
 *
 * SIGUSR1: a network came up, event "network.interface". As ubusd does, it sends it to every listener
 * and waits for no answer.
 *
 * Each line of FILE, which is read for each call, is a network: NAME PROTOCOL DEVICE L3_DEVICE, where
 * a dash stands for what is not there. Without FILE there is no netifd; if it is empty, ubusd takes
 * the call and never answers it.
 */
#include <arpa/inet.h>
#include <libubox/blobmsg.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ubusmsg.h */
enum { HELLO, STATUS, DATA, PING, LOOKUP, INVOKE, ADD_OBJECT };
enum { EVENTS = 1 };
enum { ATTR_STATUS = 1, ATTR_OBJPATH, ATTR_OBJID, ATTR_METHOD, ATTR_OBJTYPE, ATTR_SIGNATURE, ATTR_DATA, ATTR_MAX };
enum { OK, METHOD_NOT_FOUND = 3, NOT_FOUND };
struct header { uint8_t version, type; uint16_t seq; uint32_t peer; };

static const uint32_t client = 0x1234abcd, object = 0x5678ef01;
static const char *file;
static volatile sig_atomic_t told;
static struct blob_buf b;

static void reply(int to, int type, uint16_t seq, uint32_t peer)
{
	struct header header = { .type = type, .seq = seq, .peer = htonl(peer) };

	/* In pieces, so that a reader who believes that a message comes whole is found out. */
	write(to, &header, 3);
	write(to, (char *) &header + 3, sizeof(header) - 3);
	write(to, b.head, blob_raw_len(b.head));
}

static void status(int to, uint16_t seq, uint32_t peer, int code)
{
	blob_buf_init(&b, 0);
	blob_put_int32(&b, ATTR_STATUS, code);
	reply(to, STATUS, seq, peer);
}

static void lookup(int to, uint16_t seq, const char *path)
{
	void *nest;

	if (access(file, F_OK) || strcmp(path, "network.interface")) {
		status(to, seq, 0, NOT_FOUND);
		return;
	}
	blob_buf_init(&b, 0);
	blob_put_string(&b, ATTR_OBJPATH, path);
	blob_put_int32(&b, ATTR_OBJID, object);
	blob_put_int32(&b, ATTR_OBJTYPE, 0x11);
	nest = blob_nest_start(&b, ATTR_SIGNATURE);
	blobmsg_close_table(&b, blobmsg_open_table(&b, "dump"));
	blob_nest_end(&b, nest);
	reply(to, DATA, seq, 0);
	status(to, seq, 0, OK);
}

static void network(const char *name, const char *proto, const char *device, const char *l3)
{
	void *table = blobmsg_open_table(&b, NULL), *array, *address;
	int up = strcmp(l3, "-") != 0;

	blobmsg_add_string(&b, "interface", name);
	blobmsg_add_u8(&b, "up", up);
	blobmsg_add_u8(&b, "pending", !up);
	if (up) {
		blobmsg_add_u32(&b, "uptime", 77);
		blobmsg_add_string(&b, "l3_device", l3);
	}
	blobmsg_add_string(&b, "proto", proto);
	if (strcmp(device, "-"))
		blobmsg_add_string(&b, "device", device);
	array = blobmsg_open_array(&b, "ipv4-address");
	address = blobmsg_open_table(&b, NULL);
	blobmsg_add_string(&b, "address", "192.0.2.1");
	blobmsg_add_u32(&b, "mask", 24);
	blobmsg_close_table(&b, address);
	blobmsg_close_array(&b, array);
	blobmsg_close_table(&b, blobmsg_open_table(&b, "data"));
	blobmsg_close_table(&b, table);
}

static void dump(int to, uint16_t seq, const char *method)
{
	char name[64], proto[64], device[64], l3[64];
	FILE *networks = fopen(file, "r");
	struct stat found;
	void *nest, *array;

	if (!networks || strcmp(method, "dump")) {
		status(to, seq, object, METHOD_NOT_FOUND);
		return;
	}
	if (fstat(fileno(networks), &found) || !found.st_size) {
		fclose(networks);
		return;
	}
	blob_buf_init(&b, 0);
	blob_put_int32(&b, ATTR_OBJID, object);
	nest = blob_nest_start(&b, ATTR_DATA);
	array = blobmsg_open_array(&b, "interface");
	while (fscanf(networks, "%63s %63s %63s %63s", name, proto, device, l3) == 4)
		network(name, proto, device, l3);
	blobmsg_close_array(&b, array);
	blob_nest_end(&b, nest);
	reply(to, DATA, seq, object);
	status(to, seq, object, OK);
	fclose(networks);
}

/* Callers; one that listens has an object, whose number is its place's. */
enum { CALLERS = 16, OBJECT = 0x1000 };
static struct pollfd files[1 + CALLERS];
static char listens[1 + CALLERS];

static void add_object(int to, uint16_t seq, int place)
{
	blob_buf_init(&b, 0);
	blob_put_int32(&b, ATTR_OBJID, OBJECT + place);
	reply(to, DATA, seq, 0);
	status(to, seq, 0, OK);
}

static void listen_to(int to, uint16_t seq, int place, struct blob_attr *data)
{
	static const struct blobmsg_policy policy[] = {
		{ .name = "pattern", .type = BLOBMSG_TYPE_STRING },
		{ .name = "object", .type = BLOBMSG_TYPE_INT32 },
	};
	struct blob_attr *tb[2];

	blobmsg_parse(policy, 2, tb, blob_data(data), blob_len(data));
	listens[place] = tb[0] && !strcmp(blobmsg_get_string(tb[0]), "network.interface") &&
			 tb[1] && blobmsg_get_u32(tb[1]) == OBJECT + place;
	status(to, seq, EVENTS, listens[place] ? OK : 2);
}

static void tell(void)
{
	static uint16_t seq;
	void *nest;
	int place;

	for (place = 1; place <= CALLERS; place++) {
		if (files[place].fd < 0 || !listens[place])
			continue;
		blob_buf_init(&b, 0);
		blob_put_int32(&b, ATTR_OBJID, OBJECT + place);
		blob_put_string(&b, ATTR_METHOD, "network.interface");
		nest = blob_nest_start(&b, ATTR_DATA);
		blobmsg_add_string(&b, "action", "ifup");
		blobmsg_add_string(&b, "interface", "uplink");
		blob_nest_end(&b, nest);
		reply(files[place].fd, INVOKE, ++seq, 0);
	}
}

/* Answers one message; zero: the caller is to go. */
static int serve(int to, int place)
{
	static union { char bytes[4096]; struct blob_attr attr; } body;
	struct blob_attr *tb[ATTR_MAX + 1];
	struct header header;
	size_t length;
	uint32_t id;

	if (recv(to, &header, sizeof(header), MSG_WAITALL) != sizeof(header) ||
	    recv(to, body.bytes, 4, MSG_WAITALL) != 4)
		return 0;
	length = blob_len(&body.attr);
	if (length > sizeof(body) - 4 || recv(to, body.bytes + 4, length, MSG_WAITALL) != (ssize_t) length)
		return 0;
	blob_parse_untrusted(&body.attr, length + 4, tb, NULL, ATTR_MAX + 1);
	id = tb[ATTR_OBJID] ? blob_get_u32(tb[ATTR_OBJID]) : 0;
	if (header.type == LOOKUP && tb[ATTR_OBJPATH])
		lookup(to, header.seq, blob_data(tb[ATTR_OBJPATH]));
	else if (header.type == ADD_OBJECT)
		add_object(to, header.seq, place);
	else if (header.type == INVOKE && tb[ATTR_METHOD] && id == EVENTS && ntohl(header.peer) == EVENTS &&
		 tb[ATTR_DATA] && !strcmp(blob_data(tb[ATTR_METHOD]), "register"))
		listen_to(to, header.seq, place, tb[ATTR_DATA]);
	else if (header.type == INVOKE && tb[ATTR_METHOD] && id == object && ntohl(header.peer) == object)
		dump(to, header.seq, blob_data(tb[ATTR_METHOD]));
	else
		return 0;
	return 1;
}

static void welcome(int caller)
{
	int place;

	for (place = 1; place <= CALLERS && files[place].fd >= 0; place++)
		;
	if (caller < 0 || place > CALLERS) {
		close(caller);
		return;
	}
	files[place].fd = caller;
	listens[place] = 0;
	blob_buf_init(&b, 0);
	reply(caller, HELLO, 0, client);
}

static void hear(int signal)
{
	told = 1;
}

int main(int count, char **arguments)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct sigaction action = { .sa_handler = hear };
	sigset_t mask, none;
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), place;

	if (count != 3)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	/* Heard while it waits only. */
	sigemptyset(&none);
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	sigaction(SIGUSR1, &action, NULL);
	file = arguments[2];
	strncpy(address.sun_path, arguments[1], sizeof(address.sun_path) - 1);
	unlink(arguments[1]);
	if (bind(listener, (struct sockaddr *) &address, sizeof(address)) || listen(listener, 8)) {
		perror(arguments[1]);
		return 1;
	}
	for (place = 0; place <= CALLERS; place++)
		files[place] = (struct pollfd) { .fd = place ? -1 : listener, .events = POLLIN };
	for (;;) {
		int ready = ppoll(files, 1 + CALLERS, NULL, &none);

		if (told) {
			told = 0;
			tell();
		}
		for (place = 1; ready > 0 && place <= CALLERS; place++) {
			if (files[place].fd >= 0 && files[place].revents && !serve(files[place].fd, place)) {
				close(files[place].fd);
				files[place].fd = -1;
			}
		}
		if (ready > 0 && files[0].revents)
			welcome(accept(listener, NULL, NULL));
	}
}

// libmosquitto, in an event loop of the program's own (poll). Of its three interfaces this cost least:
// with the library's thread, each publish wakes that thread, which writes the same packets one by one;
// `mosquitto_loop` uses select, which ends at 1,024 files.

#include "measure.h"
#include <mosquitto.h>
#include <poll.h>

struct Client {
    struct mosquitto *mosquitto;
    bool connected, subscribed;
    long completed;
};

static void on_connect(struct mosquitto *mosquitto, void *object, int code) {
    (void)mosquitto;
    expect(code == 0, "a CONNACK");
    ((Client *)object)->connected = true;
}

static void on_publish(struct mosquitto *mosquitto, void *object, int id) {
    (void)mosquitto, (void)id;
    ((Client *)object)->completed++;
}

static void on_subscribe(struct mosquitto *mosquitto, void *object, int id, int count, const int *granted) {
    (void)mosquitto, (void)id, (void)count, (void)granted;
    ((Client *)object)->subscribed = true;
}

static void on_message(struct mosquitto *mosquitto, void *object, const struct mosquitto_message *message) {
    (void)mosquitto, (void)object;
    tally_add(message->payload, message->payloadlen);
}

static void check(int code) { expect(code == MOSQ_ERR_SUCCESS, mosquitto_strerror(code)); }

// Waits for the socket, and reads and writes.
static void turn(Client *client) {
    struct mosquitto *mosquitto = client->mosquitto;
    struct pollfd socket = {.fd = mosquitto_socket(mosquitto), .events = POLLIN};
    if (mosquitto_want_write(mosquitto)) socket.events |= POLLOUT;
    poll(&socket, 1, 1000);
    if (socket.revents & POLLIN) check(mosquitto_loop_read(mosquitto, 1));
    if (socket.revents & POLLOUT) check(mosquitto_loop_write(mosquitto, 1));
    check(mosquitto_loop_misc(mosquitto));
}

static void publish(Client *client, int qos, const char *bytes, int size) {
    check(mosquitto_publish(client->mosquitto, NULL, TOPIC, size, bytes, qos, false));
}

static Client *client_open(const char *id) {
    Client *client = calloc(1, sizeof *client);
    client->mosquitto = mosquitto_new(id, true, client);
    mosquitto_int_option(client->mosquitto, MOSQ_OPT_TCP_NODELAY, 1);
    mosquitto_int_option(client->mosquitto, MOSQ_OPT_SEND_MAXIMUM, WINDOW);
    mosquitto_int_option(client->mosquitto, MOSQ_OPT_RECEIVE_MAXIMUM, WINDOW);
    mosquitto_connect_callback_set(client->mosquitto, on_connect);
    mosquitto_publish_callback_set(client->mosquitto, on_publish);
    mosquitto_subscribe_callback_set(client->mosquitto, on_subscribe);
    mosquitto_message_callback_set(client->mosquitto, on_message);
    check(mosquitto_connect(client->mosquitto, "127.0.0.1", job.port, 60));
    return client;
}

static void client_wait(Client *client) {
    while (!client->connected) turn(client);
}

static void client_publish(Client *client) {
    for (long sent = 0; sent < job.n; sent++) {
        // At QoS 0 a message is complete when it is written.
        while (sent - client->completed >= WINDOW) turn(client);
        while (ends_batch(sent) && client->completed < sent) turn(client);
        char *bytes = payload(sent, job.size);
        publish(client, job.qos, bytes, job.size);
        free(bytes);
    }
    while (client->completed < job.n) turn(client);
    control_done();
}

static void client_publish_awaited(Client *client) {
    (void)client;
    fail("no handle for one acknowledgement");
}

static void client_subscribe(Client *client) {
    for (int from = 0; from < job.filters; from += CHUNK) {
        char *filters[CHUNK];
        int count = job.filters - from < CHUNK ? job.filters - from : CHUNK;
        for (int i = 0; i < count; i++) filters[i] = filter(from + i);
        client->subscribed = false;
        check(mosquitto_subscribe_multiple(client->mosquitto, NULL, count, filters, job.qos, 0, NULL));
        while (!client->subscribed) turn(client);
        for (int i = 0; i < count; i++) free(filters[i]);
    }
}

static void client_receive(Client *client, long n, long delay_ms) {
    sleep_ms(delay_ms);
    while (tally.count < (uint64_t)n) turn(client);
}

static void client_ping(Client *client, const char *bytes) {
    uint64_t next = tally.count + 1;
    publish(client, 0, bytes, job.size);
    while (tally.count < next) turn(client);
}

static void client_disconnect(Client *client) {
    check(mosquitto_disconnect(client->mosquitto));
    mosquitto_destroy(client->mosquitto);
    free(client);
}

int main(int count, char **words) {
    mosquitto_lib_init();
    if (count == 2 && strcmp(words[1], "version") == 0) {
        int major, minor, revision;
        mosquitto_lib_version(&major, &minor, &revision);
        printf("%d.%d.%d\n", major, minor, revision);
        return 0;
    }
    measure(count, words);
    return 0;
}

// Eclipse Paho C, its asynchronous client: two threads of the library send and receive, and a callback
// for each message reports that it is written (QoS 0) or acknowledged. There is no option for
// TCP_NODELAY.

#include "measure.h"
#include <MQTTAsync.h>
#include <semaphore.h>
#include <stdatomic.h>

// How many messages must be complete before the publishing thread is woken. With acknowledgements, a
// wake-up for each would cost as much as the messages; at QoS 0 the threads would contend for a lock.
#define BATCH (job.qos == 0 ? 1 : WINDOW / 2)

struct Client {
    MQTTAsync handle;
    // Posted when what the program waits for has happened.
    sem_t ready;
    // Posted when another batch fits in the window.
    sem_t window;
    // How many messages are written (QoS 0) or acknowledged.
    atomic_long completed;
    long wanted, delay_ms;
};

// One of the tasks that wait for each acknowledgement.
typedef struct {
    Client *client;
    long next;
} Task;

static void check(int code) { expect(code == MQTTASYNC_SUCCESS, MQTTAsync_strerror(code)); }

static void wait_for(sem_t *semaphore) {
    while (sem_wait(semaphore) != 0) {}
}

static void on_ready(void *context, MQTTAsync_successData *data) {
    (void)data;
    sem_post(&((Client *)context)->ready);
}

static void on_failure(void *context, MQTTAsync_failureData *data) {
    (void)context;
    fail(data && data->message ? data->message : "a request");
}

static void on_sent(void *context, MQTTAsync_successData *data) {
    (void)data;
    Client *client = context;
    long completed = atomic_fetch_add(&client->completed, 1) + 1;
    if (completed % BATCH == 0) sem_post(&client->window);
    if (completed == job.n || ends_batch(completed)) sem_post(&client->ready);
}

static void on_lost(void *context, char *cause) {
    (void)context;
    fail(cause ? cause : "a connection");
}

static int on_message(void *context, char *topic, int length, MQTTAsync_message *message) {
    (void)length;
    Client *client = context;
    if (client->delay_ms > 0) sleep_ms(client->delay_ms);
    client->delay_ms = 0;
    tally_add(message->payload, message->payloadlen);
    // Nobody looks at the tally before it is complete.
    bool complete = tally.count == (uint64_t)client->wanted;
    MQTTAsync_freeMessage(&message);
    MQTTAsync_free(topic);
    if (complete) sem_post(&client->ready);
    return 1;
}

static void publish(MQTTAsync handle, int qos, const char *bytes, int size, MQTTAsync_onSuccess *then,
                    void *context) {
    MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
    options.onSuccess = then;
    options.onFailure = on_failure;
    options.context = context;
    check(MQTTAsync_send(handle, TOPIC, size, bytes, qos, 0, &options));
}

static Client *client_open(const char *id) {
    Client *client = calloc(1, sizeof *client);
    sem_init(&client->ready, 0, 0);
    sem_init(&client->window, 0, 0);
    client->wanted = job.n;
    client->delay_ms = is("late") ? LATE_MS : 0;
    char address[64];
    snprintf(address, sizeof address, "tcp://127.0.0.1:%d", job.port);
    check(MQTTAsync_create(&client->handle, address, id, MQTTCLIENT_PERSISTENCE_NONE, NULL));
    check(MQTTAsync_setCallbacks(client->handle, client, on_lost, on_message, NULL));
    MQTTAsync_connectOptions options = MQTTAsync_connectOptions_initializer;
    options.cleansession = 1;
    options.maxInflight = WINDOW;
    options.MQTTVersion = MQTTVERSION_3_1_1;
    options.onSuccess = on_ready;
    options.onFailure = on_failure;
    options.context = client;
    check(MQTTAsync_connect(client->handle, &options));
    return client;
}

static void client_wait(Client *client) { wait_for(&client->ready); }

static void client_publish(Client *client) {
    for (long i = 0; i < job.n; i++) {
        if (i >= WINDOW && i % BATCH == 0) wait_for(&client->window);
        if (ends_batch(i)) wait_for(&client->ready);
        char *bytes = payload(i, job.size);
        publish(client->handle, job.qos, bytes, job.size, on_sent, client);
        free(bytes);
    }
    wait_for(&client->ready);
    control_done();
}

static void on_acknowledged(void *context, MQTTAsync_successData *data);

static void publish_next(Task *task) {
    if (task->next >= job.n) return;
    char *bytes = payload(task->next, job.size);
    task->next += WINDOW;
    publish(task->client->handle, job.qos, bytes, job.size, on_acknowledged, task);
    free(bytes);
}

static void on_acknowledged(void *context, MQTTAsync_successData *data) {
    (void)data;
    Task *task = context;
    if (atomic_fetch_add(&task->client->completed, 1) + 1 == job.n) sem_post(&task->client->ready);
    publish_next(task);
}

// A task is a context, and goes on in the callback for its message.
static void client_publish_awaited(Client *client) {
    static Task tasks[WINDOW];
    for (int i = 0; i < WINDOW; i++) {
        tasks[i] = (Task){client, i};
        publish_next(&tasks[i]);
    }
    wait_for(&client->ready);
}

static void client_subscribe(Client *client) {
    MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
    options.onSuccess = on_ready;
    options.onFailure = on_failure;
    options.context = client;
    for (int from = 0; from < job.filters; from += CHUNK) {
        char *filters[CHUNK];
        int qos[CHUNK];
        int count = job.filters - from < CHUNK ? job.filters - from : CHUNK;
        for (int i = 0; i < count; i++) {
            filters[i] = filter(from + i);
            qos[i] = job.qos;
        }
        check(MQTTAsync_subscribeMany(client->handle, count, filters, qos, &options));
        wait_for(&client->ready);
        for (int i = 0; i < count; i++) free(filters[i]);
    }
}

static void client_receive(Client *client, long n, long delay_ms) {
    // Both were set before the first message could come.
    expect(client->wanted == n && (is("late") ? LATE_MS : 0) == delay_ms, "the job");
    wait_for(&client->ready);
}

static void client_ping(Client *client, const char *bytes) {
    client->wanted = tally.count + 1;
    publish(client->handle, 0, bytes, job.size, NULL, NULL);
    wait_for(&client->ready);
}

static void client_disconnect(Client *client) {
    MQTTAsync_disconnectOptions options = MQTTAsync_disconnectOptions_initializer;
    options.onSuccess = on_ready;
    options.onFailure = on_failure;
    options.context = client;
    check(MQTTAsync_disconnect(client->handle, &options));
    wait_for(&client->ready);
    MQTTAsync_destroy(&client->handle);
    free(client);
}

static const char *version(void) {
    for (MQTTAsync_nameValue *info = MQTTAsync_getVersionInfo(); info->name; info++)
        if (strcmp(info->name, "Version") == 0) return info->value;
    return "unknown";
}

int main(int count, char **words) {
    MQTTAsync_init_options options = MQTTAsync_init_options_initializer;
    MQTTAsync_global_init(&options);
    if (count == 2 && strcmp(words[1], "version") == 0) {
        printf("%s\n", version());
        return 0;
    }
    measure(count, words);
    // The library's threads may still be using what a return from here would tear down.
    _exit(0);
}

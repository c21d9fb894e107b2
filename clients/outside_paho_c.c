/* A publisher and a subscriber on Paho C, MQTT 3.1.1 and 5, with the roles and lines of outside_paho.py.
 *
 *   cc clients/outside_paho_c.c -o outside_paho_c -lpaho-mqtt3c
 */
#include <MQTTClient.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *option(int argc, char **argv, const char *name, const char *otherwise)
{
    for (int i = 2; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return argv[i + 1];
    return otherwise;
}

static int has(int argc, char **argv, const char *name)
{
    for (int i = 2; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return 1;
    return 0;
}

static void fail(const char *what, int code)
{
    printf("failed: %s: %d\n", what, code);
    exit(1);
}

static void publish(MQTTClient client, const char *topic, const char *payload, int qos, int five)
{
    MQTTClient_message message = MQTTClient_message_initializer;
    MQTTClient_deliveryToken token = 0;
    message.payload = (void *)payload;
    message.payloadlen = (int)strlen(payload);
    message.qos = qos;
    int code = five ? (int)MQTTClient_publishMessage5(client, topic, &message, &token).reasonCode
                    : MQTTClient_publishMessage(client, topic, &message, &token);
    if (code != MQTTCLIENT_SUCCESS)
        fail("publish", code);
    code = MQTTClient_waitForCompletion(client, token, 10000);
    if (qos > 0 && code != MQTTCLIENT_SUCCESS)
        fail("wait", code);
    printf("done\n");
    if (five)
        MQTTClient_disconnect5(client, 1000, MQTTREASONCODE_SUCCESS, NULL);
    else
        MQTTClient_disconnect(client, 1000);
}

static void listen(MQTTClient client)
{
    for (;;) {
        char *topic = NULL;
        int length = 0;
        MQTTClient_message *message = NULL;
        int code = MQTTClient_receive(client, &topic, &length, &message, 1000);
        if (message != NULL) {
            printf("message: %d %s %.*s\n", message->qos, topic, message->payloadlen, (char *)message->payload);
            MQTTClient_freeMessage(&message);
            MQTTClient_free(topic);
        } else if (code != MQTTCLIENT_SUCCESS && code != MQTTCLIENT_TOPICNAME_TRUNCATED) {
            fail("receive", code);
        }
    }
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *role = argc > 1 ? argv[1] : "";
    const char *topic = option(argc, argv, "--topic", "outside/topic");
    int qos = atoi(option(argc, argv, "--qos", "0"));
    int five = has(argc, argv, "--five");
    char url[64];
    snprintf(url, sizeof url, "tcp://127.0.0.1:%s", option(argc, argv, "--port", "1883"));

    MQTTClient client;
    MQTTClient_createOptions create = MQTTClient_createOptions_initializer;
    create.MQTTVersion = five ? MQTTVERSION_5 : MQTTVERSION_3_1_1;
    int code = MQTTClient_createWithOptions(&client, url, option(argc, argv, "--id", "outside-paho-c"),
                                            MQTTCLIENT_PERSISTENCE_NONE, NULL, &create);
    if (code != MQTTCLIENT_SUCCESS)
        fail("create", code);

    MQTTClient_connectOptions connect = MQTTClient_connectOptions_initializer;
    MQTTClient_connectOptions connect5 = MQTTClient_connectOptions_initializer5;
    MQTTProperties keep = MQTTProperties_initializer;
    if (five) {
        MQTTProperty expiry;
        expiry.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL;
        expiry.value.integer4 = 3600;
        MQTTProperties_add(&keep, &expiry);
        connect = connect5;
        connect.cleanstart = 0;
        code = MQTTClient_connect5(client, &connect, &keep, NULL).reasonCode;
    } else {
        connect.cleansession = 0;
        connect.MQTTVersion = MQTTVERSION_3_1_1;
        code = MQTTClient_connect(client, &connect);
    }
    if (code != MQTTCLIENT_SUCCESS)
        fail("connect", code);

    if (strcmp(role, "publish") == 0) {
        publish(client, topic, option(argc, argv, "--payload", "coo"), qos, five);
        return 0;
    }
    if (strcmp(role, "subscribe") == 0) {
        int granted = qos;
        if (five)
            granted = MQTTClient_subscribe5(client, topic, qos, NULL, NULL).reasonCode;
        else
            code = MQTTClient_subscribe(client, topic, qos);
        if (code != MQTTCLIENT_SUCCESS || granted > 2)
            fail("subscribe", five ? granted : code);
        printf("ready: %d\n", granted);
    } else {
        /* The library of Debian 12 does not hand it on in MQTT 5. */
        printf("session: %s\n", five ? "untold" : connect.returned.sessionPresent ? "true" : "false");
    }
    listen(client);
    return 0;
}

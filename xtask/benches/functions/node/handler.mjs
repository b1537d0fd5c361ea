// What `send-message` does, as one would write it for Node: count the action, query the room, post to everybody.
import { ApiGatewayManagementApiClient, PostToConnectionCommand } from "@aws-sdk/client-apigatewaymanagementapi";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DeleteCommand, DynamoDBDocumentClient, QueryCommand, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import { randomUUID } from "node:crypto";

const TableName = process.env.CONNECTIONS_TABLE;
const documents = DynamoDBDocumentClient.from(new DynamoDBClient({}));
const gateway = new ApiGatewayManagementApiClient({ endpoint: process.env.MANAGEMENT_ENDPOINT });

async function post(connectionId, Data) {
  try {
    await gateway.send(new PostToConnectionCommand({ ConnectionId: connectionId, Data }));
  } catch (error) {
    if (error.$metadata?.httpStatusCode !== 410) throw error;
    await documents.send(new DeleteCommand({ TableName, Key: { connectionId } }));
  }
}

export async function handler(event) {
  const { connectionId } = event.requestContext;
  const { data } = JSON.parse(event.body);
  const { Attributes: sender } = await documents.send(
    new UpdateCommand({
      TableName,
      Key: { connectionId },
      UpdateExpression: "SET actions = actions + :one",
      ConditionExpression: "attribute_exists(connectionId)",
      ExpressionAttributeValues: { ":one": 1 },
      ReturnValues: "ALL_NEW",
    }),
  );
  const frame = JSON.stringify({
    type: "message",
    id: randomUUID(),
    from: { sub: sender.sub, name: sender.name },
    room: sender.room,
    data,
    at: new Date().toISOString(),
  });
  const now = Date.now() / 1000;
  let ExclusiveStartKey;
  do {
    const page = await documents.send(
      new QueryCommand({
        TableName,
        IndexName: "by-room",
        KeyConditionExpression: "room = :room",
        ExpressionAttributeValues: { ":room": sender.room },
        ExclusiveStartKey,
      }),
    );
    const receivers = page.Items.filter((row) => row.connectionId !== connectionId && row.expiresAt > now);
    await Promise.allSettled(receivers.map((row) => post(row.connectionId, frame)));
    ExclusiveStartKey = page.LastEvaluatedKey;
  } while (ExclusiveStartKey);
  return { statusCode: 200 };
}

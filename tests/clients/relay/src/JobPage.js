// What a Relay application would write. It is only compiled here: Node, connections and PageInfo must be Relay's.

import { graphql } from 'relay-runtime';

export const query = graphql`
  query JobPageQuery($id: ID!) {
    viewer {
      id
    }
    node(id: $id) {
      ...JobPage_job @alias
    }
  }
`;

// @refetchable asks `node(id:)` again for this fragment; @connection keeps one list over many pages.
export const job = graphql`
  fragment JobPage_job on Job
  @refetchable(queryName: "JobPageLogsQuery")
  @argumentDefinitions(count: { type: "Int", defaultValue: 20 }, cursor: { type: "String" }) {
    title
    status
    logs(first: $count, after: $cursor) @connection(key: "JobPage_logs") {
      totalCount
      edges {
        node {
          type
          message
          execution {
            number
          }
        }
      }
    }
  }
`;

export const execute = graphql`
  mutation JobPageExecuteMutation($input: ExecuteJobInput!) {
    executeJob(input: $input) {
      job {
        ...JobPage_job
      }
      userErrors {
        code
        message
      }
    }
  }
`;

// A created job goes into the lists that show it, without a second question.
export const create = graphql`
  mutation JobPageCreateMutation($input: CreateJobInput!, $connections: [ID!]!) {
    createJob(input: $input) {
      job @prependNode(connections: $connections, edgeTypeName: "JobEdge") {
        id
        title
      }
    }
  }
`;

export const follow = graphql`
  subscription JobPageSubscription($id: ID!, $after: String) {
    jobLogAppended(jobId: $id, after: $after) {
      cursor
      log {
        id
        type
        message
      }
    }
  }
`;

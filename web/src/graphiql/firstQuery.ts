/** What stands in the editor of somebody who is here for the first time. */
export const firstQuery = `# The service's own words: the book on the left has every type, with its description.
# Signed in on the pages? Then it is you who asks. Otherwise, below under Headers:
#   { "Authorization": "Bearer <token>" }

query Jobs {
  viewer {
    displayName
    role
  }
  jobs(first: 5) {
    nodes {
      id
      title
      status
      availableActions
    }
  }
}

# Follow a job while it is executed: put its id in, and press the button for this operation.
subscription Log {
  jobLogAppended(jobId: "job_…") {
    log {
      timestamp
      type
      message
    }
  }
}
`;

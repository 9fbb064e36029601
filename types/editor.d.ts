// What the host adds to nodes with DOM widgets and its types leave out, as far as the editor uses it.

type DOMWidget = Widget & { value: string; onRemove?: () => void; serializeValue?: () => unknown };

type EditorNode = GraphNode & {
    addDOMWidget(name: string, type: string, element: HTMLElement, options: Record<string, unknown>): DOMWidget;
    /** Called after a run with what the node returned for the interface. */
    onExecuted?: (output: { background?: { filename: string; subfolder: string; type: string }[] }) => void;
};
